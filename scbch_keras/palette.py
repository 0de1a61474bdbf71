"""The colours that all pages share, for light and dark: those that are written and those that are served."""

from pathlib import Path

PALETTE = Path(__file__).with_name("palette.css")
