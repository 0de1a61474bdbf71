"""What the search page asks of the service: what there is, searches by words, picture and item, and thumbnails."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from scbch_keras.export.service import static_files
from scbch_keras.export.service.answers import check_json, limited
from scbch_keras.export.service.bodies import Bodies
from scbch_keras.export.service.catalogue import Catalogue, Chance
from scbch_keras.export.service.inputs import Inputs, words
from scbch_keras.export.service.limits import InputError, OverloadedError
from scbch_keras.export.service.work import Work
from scbch_keras.export.serving.index import HammingIndex
from scbch_keras.export.stores.index import StoredIndex
from scbch_keras.safe_text import visible

_LOG = logging.getLogger("uvicorn.error")
_EXAMPLES = 5
_EXAMPLE_WORDS = 2
_SUMMARY = 5


def router(
    work: Work,
    catalogue: Callable[[Sequence[str]], Catalogue],
    bodies: Bodies,
    candidates: Sequence[str] = (),
) -> APIRouter:
    """The search page and all that it asks for.

    Args:
        work: with an index.
        catalogue: names of its codes (n) -> what is known of them.
        bodies: reads the bodies of requests.
        candidates: ids of the data, some of which a store may have: it does not list its own.

    Raises ValueError if there is no code to search in, and as `catalogue` does.
    """
    if not work.indexed:
        raise ValueError("codes: expected at least one code to search in, got none")
    page: SearchPage
    if isinstance(work.index, StoredIndex):
        names = present_names(work.index, candidates)
        page = StoredPage(work, catalogue(names))
    else:
        page = SearchPage(work, catalogue(work.row_names()))
    known = page.catalogue
    found = static_files.page_router()
    limits = work.limits

    @found.get("/page/about")
    async def about() -> Response:
        return _json(page.about)

    @found.get("/page/items")
    async def items(label: int | None = None, k: int = 24) -> Response:
        label, k = page.checked(label, k)
        return _json(await work.in_thread(page.items, label, k))

    @found.get("/page/like/{row}")
    async def like(row: int, label: int | None = None, k: int = 24) -> Response:
        page.check_row(row)
        label, k = page.checked(label, k)
        return _json(await work.in_thread(page.like, row, label, k))

    @found.post("/page/search")
    async def search(request: Request, label: int | None = None) -> Response:
        check_json(request)
        label, _ = page.checked(label, 1)
        async with bodies.read(request) as body:
            return await limited(request, page.search(body, label), limits.request_seconds)

    @found.get("/page/pictures/{row}")
    async def picture(row: int) -> Response:
        page.check_row(row)
        if known.pictures is None:
            raise HTTPException(404, "this page was started without pictures (--pictures, --data)")
        try:
            content, kind = await work.in_thread(known.pictures.thumbnail, row, limits.max_pixels)
        except (OSError, ValueError) as error:
            raise HTTPException(404, f"{known.names[row]}: {error}") from error
        return Response(content, media_type=kind, headers=static_files.HEADERS)

    return found


class SearchPage:
    """Answers of the search page, as JSON has them."""

    cannot: tuple[str, ...] = ()
    """What the page has not, in sentences."""

    def __init__(self, work: Work, catalogue: Catalogue):
        self._work, self.catalogue = work, catalogue
        self._open(work, catalogue)
        limits, encoder = work.limits, work.encoder
        names = zip(catalogue.label_names, catalogue.label_counts(), strict=True)
        self.about: dict[str, Any] = {
            "release": str(work.source),
            "bits": encoder.bits,
            "count": work.indexed,
            "cannot": list(self.cannot),
            "takes_words": encoder.takes_strings,
            "takes_pictures": encoder.picture_size is not None,
            "has_pictures": catalogue.pictures is not None,
            "max_text": limits.max_text,
            # Base64 has four characters for three bytes; some are left for the rest of the body.
            "max_picture": max(0, limits.max_body - 256) // 4 * 3,
            "max_results": limits.max_results,
            "labels": [{"name": visible(name), "count": count} for name, count in names],
            "examples": self._examples(),
        }

    def _open(self, work: Work, catalogue: Catalogue) -> None:
        """What searches need."""
        assert isinstance(work.index, HammingIndex)  # noqa: S101
        self._index, self._ids, self._codes = work.index, work.index.ids, work.index.codes
        self._row_of = {id: row for row, id in enumerate(self._ids.tolist())}
        self._chance = Chance(self._codes, work.index.bits, catalogue.labels)

    def checked(self, label: int | None, k: int) -> tuple[int | None, int]:
        """A label and a number of results. Raises HTTPException for what there is not."""
        if label is not None and not 0 <= label < len(self.catalogue.label_names):
            raise HTTPException(404, f"label: there is no label {label}; reload the page")
        if not 1 <= k <= self._work.limits.max_results:
            raise InputError(f"k: expected an int from 1 to {self._work.limits.max_results}, got {k}")
        return label, k

    def check_row(self, row: int) -> None:
        """Raises HTTPException for a row that is none."""
        if not 0 <= row < len(self.catalogue.names):
            raise HTTPException(
                404, f"there is no item {row} among the {len(self.catalogue.names)}; reload the page"
            )

    def items(self, label: int | None, k: int) -> dict[str, Any]:
        """Some of the items, evenly from the first to the last."""
        rows = self._chance.rows(label)
        chosen = rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), min(k, len(rows))).astype(np.int64))]
        return {"items": [self.catalogue.entry(row) for row in chosen.tolist()], "searched": len(rows)}

    def like(self, row: int, label: int | None, k: int) -> dict[str, Any]:
        """The items nearest to one of them, itself left out."""
        found = self._nearest(self._codes[row], label, k + 1, without=row)
        return {"query": self.catalogue.entry(row), **found}

    async def search(self, body: Sequence[bytes], label: int | None) -> Response:
        """The items nearest to a text or a picture: one row of what /search takes."""
        work = self._work
        inputs: Inputs = await work.read("inputs", body, True)
        if len(inputs.rows) != 1:
            raise InputError(f"{inputs.kind}: expected one query, got {len(inputs.rows)}")
        codes = await work.encode(inputs.kind, inputs.rows)
        text = {name: values[0] for name, values in words(inputs).items()}
        found = (
            {"items": [], "searched": 0}
            if text.get("known_words") == 0
            else await work.in_thread(self._nearest, codes[0], label, inputs.k)
        )
        return _json({**found, **text})

    def _nearest(
        self, code: NDArray[np.uint8], label: int | None, k: int, without: int | None = None
    ) -> dict[str, Any]:
        rows = self._chance.rows(label)
        among = None if label is None else self._ids[rows]
        ids, distances = self._index.search(code[None], k, among=among)
        pairs = zip(ids[0].tolist(), distances[0].tolist(), strict=True)
        found = [(self._row_of[id], distance) for id, distance in pairs]
        found = [pair for pair in found if pair[0] != without][: k - (without is not None)]
        return {
            "items": [{**self.catalogue.entry(row), "distance": distance} for row, distance in found],
            "searched": len(rows),
            "chance": self._chance.distance(code, label),
            "labels": self._summary([row for row, _ in found], label),
        }

    def _summary(self, rows: list[int], label: int | None) -> list[dict[str, Any]]:
        """The labels that most of these rows have, each with the number that as many random ones would have."""
        if self.catalogue.labels is None or not rows:
            return []
        counts = self.catalogue.labels[rows].sum(axis=0, dtype=np.int64)
        expected = self._chance.label_shares(label) * len(rows)
        order = np.argsort(-counts, kind="stable")[:_SUMMARY]
        return [
            {"label": int(one), "count": int(counts[one]), "expected": float(expected[one])}
            for one in order
            if counts[one]
        ]

    def _examples(self) -> list[str]:
        """Words to try: the first that the model knows of captions, evenly from the first to the last."""
        encoder, captions = self._work.encoder, self.catalogue.captions
        if not captions or not encoder.takes_strings:
            return []
        rows = np.linspace(0, len(captions) - 1, 2 * _EXAMPLES + 1).astype(np.int64)[1::2]
        tried = [_first_words(encoder, captions[row]) for row in rows.tolist()]
        return list(dict.fromkeys(filter(None, tried)))


class StoredPage(SearchPage):
    """The page of codes in a store, which gives results, and neither its codes nor a list of its ids.

    What is known beside the results is of the rows of the data that the store has.
    """

    cannot = (
        "The codes are in a store, which gives results alone: there is no “more like this”, no distance by chance, and "
        "without words or a picture only items of --data are listed.",
    )

    def _open(self, work: Work, catalogue: Catalogue) -> None:
        assert isinstance(work.index, StoredIndex)  # noqa: S101
        self._store = work.index
        self._row_by_name = {name: row for row, name in enumerate(catalogue.names)}

    def items(self, label: int | None, k: int) -> dict[str, Any]:
        rows = self._rows(label)
        chosen = rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), min(k, len(rows))).astype(np.int64))]
        return {"items": [self.catalogue.entry(row) for row in chosen.tolist()], "searched": len(rows)}

    def like(self, row: int, label: int | None, k: int) -> dict[str, Any]:
        raise HTTPException(404, "a store does not give its codes back: search by words or a picture")

    def _nearest(
        self, code: NDArray[np.uint8], label: int | None, k: int, without: int | None = None
    ) -> dict[str, Any]:
        among = None
        if label is not None:
            among = [self._id(self.catalogue.names[row]) for row in self._rows(label).tolist()]
        try:
            ids, distances = self._store.search(code[None], k, among=among)
        except (ConnectionError, ValueError) as error:
            # Its address is for the log alone.
            _LOG.error("search failed: %s", error)
            raise OverloadedError("the store of the codes does not answer") from error
        pairs = zip(ids[0].tolist(), distances[0].tolist(), strict=True)
        return {
            "items": [{**self._entry(str(id)), "distance": distance} for id, distance in pairs],
            "searched": self._work.indexed if among is None else len(among),
        }

    def _entry(self, name: str) -> dict[str, Any]:
        row = self._row_by_name.get(name)
        if row is not None:
            return self.catalogue.entry(row)
        return {"row": None, "id": visible(name), "caption": None, "labels": []}

    def _rows(self, label: int | None) -> NDArray[np.int64]:
        labels = self.catalogue.labels
        if label is None or labels is None:
            return np.arange(len(self.catalogue.names))
        return np.flatnonzero(labels[:, label])

    def _id(self, name: str) -> int | str:
        return int(name) if self._store.id_kind == "integers" else name


def present_names(store: StoredIndex, candidates: Sequence[str]) -> list[str]:
    """Those of the candidates that the store has, in their order."""
    if store.id_kind == "integers":
        return [str(id) for id in store.present([int(name) for name in candidates if _is_id(name)])]
    return [str(id) for id in store.present([name for name in candidates if name])]


def _is_id(name: str) -> bool:
    return name.isascii() and name.isdigit() and name == str(int(name)) and int(name) < 2**63


def _first_words(encoder: Any, caption: str) -> str:
    words: Sequence[str] = [word for word in caption.replace(",", " ").split() if len(word) > 2][:16]
    known = encoder.known_words(words).tolist() if words else []
    return " ".join([word for word, count in zip(words, known, strict=True) if count][:_EXAMPLE_WORDS])


def _json(content: dict[str, Any]) -> Response:
    return JSONResponse(content, headers=static_files.HEADERS)
