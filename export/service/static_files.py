"""Files of the service's own pages, which load nothing from elsewhere; and the page of its interface."""

from pathlib import Path

from fastapi import APIRouter, Response

from scbch_keras.palette import PALETTE

_FOLDER = Path(__file__).with_name("static")
_KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of each answer that a page gets."""


def router() -> APIRouter:
    """The page of the interface at /docs, drawn from /openapi.json, and what pages share."""
    found = APIRouter(include_in_schema=False)
    add(found, "/docs", _FOLDER / "docs.html")
    for name in ("docs.js", "icon.svg", "page.css"):
        add(found, f"/static/{name}", _FOLDER / name)
    add(found, "/static/palette.css", PALETTE)
    return found


def page_router() -> APIRouter:
    """The search page at /, and its files."""
    found = APIRouter(include_in_schema=False)
    add(found, "/", _FOLDER / "search.html")
    for name in ("search.css", "search.js"):
        add(found, f"/static/{name}", _FOLDER / name)
    return found


def add(found: APIRouter, address: str, path: Path) -> None:
    """Answer `address` with a file, read now."""
    content, kind = path.read_bytes(), _KINDS[path.suffix]

    async def file() -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    found.add_api_route(address, file, methods=["GET"], name=path.name)
