"""What the search page asks of the service: what there is, searches by words, picture and item, and thumbnails."""

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
from scbch_keras.export.service.limits import InputError
from scbch_keras.export.service.work import Work
from scbch_keras.export.serving.index import HammingIndex
from scbch_keras.safe_text import visible

_EXAMPLES = 5
_EXAMPLE_WORDS = 2
_SUMMARY = 5


def router(work: Work, catalogue: Callable[[Sequence[str]], Catalogue], bodies: Bodies) -> APIRouter:
    """The search page and all that it asks for.

    Args:
        work: with an index.
        catalogue: names of its codes (n) -> what is known of them.
        bodies: reads the bodies of requests.

    Raises ValueError if there is no code to search in, and as `catalogue` does.
    """
    names = work.row_names()
    if not names:
        raise ValueError("codes: expected at least one code to search in, got none")
    known = catalogue(names)
    found = static_files.page_router()
    page = SearchPage(work, known)
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

    def __init__(self, work: Work, catalogue: Catalogue):
        if not isinstance(work.index, HammingIndex):
            raise ValueError(
                "the search page needs codes of `scbch encode` or an index file; a store has neither"
            )
        self._work, self._catalogue, self._index = work, catalogue, work.index
        self._ids = work.index.ids
        self._row_of = {id: row for row, id in enumerate(self._ids.tolist())}
        self._codes = work.index.codes
        self._chance = Chance(self._codes, work.index.bits, catalogue.labels)
        limits, encoder = work.limits, work.encoder
        names = zip(catalogue.label_names, catalogue.label_counts(), strict=True)
        self.about: dict[str, Any] = {
            "release": str(work.source),
            "bits": encoder.bits,
            "count": len(work.index),
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

    def checked(self, label: int | None, k: int) -> tuple[int | None, int]:
        """A label and a number of results. Raises HTTPException for what there is not."""
        if label is not None and not 0 <= label < len(self._catalogue.label_names):
            raise HTTPException(404, f"label: there is no label {label}; reload the page")
        if not 1 <= k <= self._work.limits.max_results:
            raise InputError(f"k: expected an int from 1 to {self._work.limits.max_results}, got {k}")
        return label, k

    def check_row(self, row: int) -> None:
        """Raises HTTPException for a row that is none."""
        if not 0 <= row < len(self._codes):
            raise HTTPException(404, f"there is no item {row} among the {len(self._codes)}; reload the page")

    def items(self, label: int | None, k: int) -> dict[str, Any]:
        """Some of the items, evenly from the first to the last."""
        rows = self._chance.rows(label)
        chosen = rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), min(k, len(rows))).astype(np.int64))]
        return {"items": [self._catalogue.entry(row) for row in chosen.tolist()], "searched": len(rows)}

    def like(self, row: int, label: int | None, k: int) -> dict[str, Any]:
        """The items nearest to one of them, itself left out."""
        found = self._nearest(self._codes[row], label, k + 1, without=row)
        return {"query": self._catalogue.entry(row), **found}

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
            "items": [{**self._catalogue.entry(row), "distance": distance} for row, distance in found],
            "searched": len(rows),
            "chance": self._chance.distance(code, label),
            "labels": self._summary([row for row, _ in found], label),
        }

    def _summary(self, rows: list[int], label: int | None) -> list[dict[str, Any]]:
        """The labels that most of these rows have, each with the number that as many random ones would have."""
        if self._catalogue.labels is None or not rows:
            return []
        counts = self._catalogue.labels[rows].sum(axis=0, dtype=np.int64)
        expected = self._chance.label_shares(label) * len(rows)
        order = np.argsort(-counts, kind="stable")[:_SUMMARY]
        return [
            {"label": int(one), "count": int(counts[one]), "expected": float(expected[one])}
            for one in order
            if counts[one]
        ]

    def _examples(self) -> list[str]:
        """Words to try: the first that the model knows of captions, evenly from the first to the last."""
        encoder, captions = self._work.encoder, self._catalogue.captions
        if captions is None or not encoder.takes_strings:
            return []
        rows = np.linspace(0, len(captions) - 1, 2 * _EXAMPLES + 1).astype(np.int64)[1::2]
        tried = [_first_words(encoder, captions[row]) for row in rows.tolist()]
        return list(dict.fromkeys(filter(None, tried)))


def _first_words(encoder: Any, caption: str) -> str:
    words: Sequence[str] = [word for word in caption.replace(",", " ").split() if len(word) > 2][:16]
    known = encoder.known_words(words).tolist() if words else []
    return " ".join([word for word, count in zip(words, known, strict=True) if count][:_EXAMPLE_WORDS])


def _json(content: dict[str, Any]) -> Response:
    return JSONResponse(content, headers=static_files.HEADERS)
