"""URLs of stores and names of tables. What may be a password is in no message. Standard library only."""

import re
from typing import NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

_TABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_PLAIN_HOST = re.compile(r"[\w.,:%/\[\] -]*")
_OWN_COLUMNS = ("id", "code", "distance", "addition")
_TABLE_RULE = "letters, digits and _, no digit first, 63 at most, or SCHEMA.TABLE of two such"


class Address(NamedTuple):
    """Where a table of codes is.

    url: of the server, without the table.
    scheme: of the URL, in lower case.
    table: checked.
    place: the URL and table as messages call them, without user, password and options.
    """

    url: str
    scheme: str
    table: str
    place: str


def is_url(text: object) -> bool:
    """Whether text names a store rather than a file."""
    return isinstance(text, str) and "://" in text


def address(url: str, table: str | None = None) -> Address:
    """The parts of "SCHEME://...", with the table as an argument or behind a #.

    Raises:
        ValueError: no URL, no table or two, or a name that needs quoting.
    """
    if not is_url(url):
        raise ValueError("url must be SCHEME://USER@HOST/DATABASE, such as postgresql://localhost/photos")
    scheme = url.partition("://")[0].lower()
    if not _SCHEME.fullmatch(scheme):
        raise ValueError("url must begin with the scheme of a store, such as postgresql://")
    server, _, fragment = url.partition("#")
    if (table is not None) == bool(fragment):
        raise ValueError("table must be named once: as the argument, or behind a # at the end of the URL")
    if fragment and not _TABLE.fullmatch(fragment):
        # Not shown: it may be the end of a password.
        raise ValueError(
            f"url must have the name of a table behind its # ({_TABLE_RULE}); "
            "a # within a password is written %23"
        )
    if table is not None and not (isinstance(table, str) and _TABLE.fullmatch(table)):
        raise ValueError(f"table must be a plain name ({_TABLE_RULE}), got {table!r}")
    table = table or fragment
    return Address(server, scheme, table, f"{_without_secrets(server, scheme)}#{table}")


def check_column(name: object) -> None:
    """Refuse names of columns that need quoting, or that the table has already."""
    if not isinstance(name, str) or not _COLUMN.fullmatch(name) or name.lower() in _OWN_COLUMNS:
        raise ValueError(
            "columns must have names of letters, digits and _, no digit first, 63 at most, and not "
            f"{', '.join(_OWN_COLUMNS)}; got {name!r}"
        )


def unreadable(scheme: str) -> NoReturn:
    """Refuse a URL without showing any of it."""
    raise ValueError(
        f"url cannot be read as {scheme}://USER:PASSWORD@HOST:PORT/DATABASE; characters of a password such as "
        "@ / # : are written as %40 %2F %23 %3A"
    ) from None


def _without_secrets(server: str, scheme: str) -> str:
    try:
        parts = urlsplit(server)
        port, host = parts.port, unquote(parts.netloc.rpartition("@")[2])
    except ValueError:
        unreadable(scheme)
    database = unquote(parts.path)
    # With an unescaped / @ or : in the password, its rest would stand in one of these.
    is_plain = _PLAIN_HOST.fullmatch(host) and not set("@:") & set(database) and port != 0
    if not is_plain or "@" in parts.netloc.rpartition("@")[0]:
        unreadable(scheme)
    return f"{scheme}://{host}{database}"
