"""The frame of the HTML pages: templates that load nothing, for light and dark, for a phone and for paper."""

import base64
from pathlib import Path
from typing import Any

from scbch_keras.palette import PALETTE
from scbch_keras.templates import html_templates

_TEMPLATES = (Path(__file__).with_name("templates"), PALETTE.parent)


def render(template: str, *folders: Path, **values: Any) -> str:
    """One HTML document.

    Args:
        template: name of a template that extends base.html, in `folders` or among those of this room.
        folders: where it and its own parts are.
        values: what it shows. Text is escaped.
    """
    environment = html_templates(*folders, *_TEMPLATES)
    environment.filters |= {"percent": percent, "thousands": "{:,}".format, "data_uri": _data_uri}
    return environment.get_template(template).render(contents=[], **values)


def percent(share: float) -> str:
    """A share in [0, 1] as whole percent, which no line break parts."""
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def duration(seconds: float) -> str:
    """Seconds in words: hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _data_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
