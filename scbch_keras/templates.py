"""Jinja2 templates of pages: whatever a template puts out is made safe for its format, unless it is markup already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from scbch_keras.safe_text import markdown, markdown_code, terminal, visible


def html_templates(*folders: Path) -> Environment:
    """Templates of HTML pages from the first of `folders` that has one by the name.

    Text is escaped, in quoted attributes too, and control characters are written out, in markup as well.
    """
    return _templates(folders, lambda value: Markup(visible(escape(value), "\t\n\r")))  # noqa: S704 (escaped)


def markdown_templates(*folders: Path) -> Environment:
    """Templates of Markdown files: text is escaped for a line or a table cell.

    Filters: `code`, a code span; `command`, text of a fenced block without control characters.
    """
    made = _templates(folders, lambda value: value if isinstance(value, Markup) else _ready(markdown)(value))
    made.filters |= {"code": _ready(markdown_code), "command": _ready(terminal)}
    return made


def _templates(folders: tuple[Path, ...], finalize: Callable[[Any], Markup]) -> Environment:
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=["jinja2.ext.do"],
    )


def _ready(safe: Callable[[object], str]) -> Callable[[object], Markup]:
    return lambda text: Markup(safe(text))  # noqa: S704 (safe_text made it safe)
