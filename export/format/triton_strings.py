"""Raw strings -> codes on Triton's python backend, with numpy and onnxruntime alone.

Releases hold a copy of this file as model.py, beside all that it reads. It is not imported from here.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

FOLDER = Path(__file__).parent
CELLS = 2**20
"""The graph makes a table of the rows of a call, as wide as its longest text has words: a call has no more."""


def _normalization() -> Any:
    spec = importlib.util.spec_from_file_location("scbch_normalization", FOLDER / "normalization.py")
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TritonPythonModel:
    """Texts, UTF-8 strings (n,) -> packed_codes, codes and known_words, as the signature in config.pbtxt says."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the files of the version's folder. Raises ValueError for a rule that is not known here."""
        stored = json.loads((FOLDER / "text_pipeline.json").read_bytes())
        normalization = _normalization()
        self._rule = normalization.check_rule(stored["normalization"])
        self._words = normalization.words
        self._vocabulary = frozenset(stored["vocabulary"])
        self._session = onnxruntime.InferenceSession(
            str(FOLDER / "text_raw.onnx"), providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """All requests as one batch; one that holds no UTF-8 fails alone."""
        rows: list[list[str]] = []
        places: list[slice | str] = []
        for request in requests:
            texts = triton.get_input_tensor_by_name(request, "text").as_numpy().ravel()
            try:
                decoded = [text.decode() for text in texts]
            except UnicodeDecodeError as error:
                places.append(f"text must be valid UTF-8: {error}")
                continue
            places.append(slice(len(rows), len(rows) + len(decoded)))
            # Unknown words do not count, and would widen the graph's table.
            rows += [
                [word for word in self._words(text, self._rule) if word in self._vocabulary]
                for text in decoded
            ]
        outputs = self._encode(rows) if rows else {}
        return [
            triton.InferenceResponse(error=triton.TritonError(place))
            if isinstance(place, str)
            else triton.InferenceResponse(
                [triton.Tensor(name, values[place]) for name, values in outputs.items()]
            )
            for place in places
        ]

    def _encode(self, rows: list[list[str]]) -> dict[str, Any]:
        outputs = [
            self._session.run(
                ["packed_codes", "codes"], {"text": np.array([" ".join(row) for row in rows[part]], object)}
            )
            for part in _parts(rows)
        ]
        packed, codes = (np.concatenate(each) for each in zip(*outputs, strict=True))
        known = np.array([len(set(row)) for row in rows], np.int32)
        return {"packed_codes": packed, "codes": codes, "known_words": known}


def _parts(rows: list[list[str]]) -> Iterator[slice]:
    """Neighbouring rows whose table has CELLS at most; one row at least."""
    start, width = 0, 1
    for place, row in enumerate(rows):
        width = max(width, len(row))
        if place > start and (place - start + 1) * width > CELLS:
            yield slice(start, place)
            start, width = place, max(1, len(row))
    yield slice(start, len(rows))
