r"""Text of data and file names, made safe for CSV, a terminal and Markdown; HTML is the templates'. No dependencies.

Whoever writes a label, an id or a file name must not thereby write a formula, a terminal's command, a link or a tag.
Control characters, among them those that turn the direction of writing, are written out as escapes (``\x1b``).
"""

import re
import unicodedata

NO_LINE = re.compile(r"[\n\r\ud800-\udfff]")
"""What a line of a file in UTF-8 cannot hold: line breaks and lone surrogates."""
_JOINERS = "\u200c\u200d"
"""Format characters that scripts and emoji need; they neither hide nor reorder anything."""
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(r)|(\\))")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~@$&]|(?<=:)/(?=/)|(?<=www)\.)", re.IGNORECASE)


def csv_cell(text: str) -> str:
    r"""A cell that no spreadsheet runs as a formula and no terminal obeys; `from_csv_cell` gives the text again.

    Text that begins with = + - @ (their full-width forms, blanks before them), a tab or a line break, or with an
    apostrophe, has an apostrophe before it. Text with control characters has an apostrophe and a backslash before
    it, and within it stand escapes (``\x1b``, ``\u202e``), a backslash doubled. Tabs and line ends stay as they are.
    """
    plain = text.replace("\r\n", "\n")
    if not plain.isprintable() and any(_is_control(char) and char not in "\t\n" for char in plain):
        return "'\\" + visible(text.replace("\\", "\\\\"), "\t\n")
    if text.startswith(("'", "\t", "\n", "\r")) or text.lstrip().startswith(_FORMULA):
        return f"'{text}"
    return text


def from_csv_cell(cell: str) -> str:
    """The text that `csv_cell` made the cell of."""
    if cell.startswith("'\\"):
        return _ESCAPE.sub(_unescaped, cell[2:])
    return cell.removeprefix("'")


def _unescaped(match: re.Match[str]) -> str:
    *codes, is_return, backslash = match.groups()
    return backslash or ("\r" if is_return else chr(int(next(filter(None, codes)), 16)))


def terminal(text: object, lines: bool = False) -> str:
    """Text for a terminal or a log: one line, unless `lines`, without anything that the terminal would obey."""
    return visible(str(text), "\n" if lines else "")


def markdown(text: object) -> str:
    """Text within a line or a table cell of Markdown: no markup, no HTML, no link."""
    escaped = _MARKDOWN.sub(r"\\\1", terminal(_one_line(text)))
    return escaped.replace("\\<", "&lt;").replace("\\>", "&gt;").replace("\\&", "&amp;")


def markdown_code(text: object) -> str:
    """Text as a code span of Markdown, in a table too, whatever backticks and bars it holds."""
    plain = terminal(_one_line(text)).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    blank = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{blank}{plain}{blank}{fence}"


def visible(text: str, kept: str = "") -> str:
    r"""Text with its control characters but those `kept` written out as escapes (``\x1b``)."""
    if text.isprintable():
        return text
    return text.translate(
        {ord(char): ascii(char)[1:-1] for char in set(text) if _is_control(char) and char not in kept}
    )


def _one_line(text: object) -> str:
    return " ".join(str(text).splitlines())


def _is_control(char: str) -> bool:
    category = unicodedata.category(char)
    return category in ("Cc", "Cs", "Zl", "Zp") or (category == "Cf" and char not in _JOINERS)
