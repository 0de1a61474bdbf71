"""The file of a HammingIndex: an uncompressed .npz of plain arrays, with a checksum over them."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.format.source import Source
from scbch_keras.export.serving.positions import Positions
from scbch_keras.files import loads, replaced
from scbch_keras.ids import Ids
from scbch_keras.npz import load_npz, mapped_npz
from scbch_keras.stored import FileKind, json_array

_STORED = FileKind("a HammingIndex file", "schema", (3, 2, 1))
"""1 had neither strings as ids nor `added`; 2 kept ids that are positions."""
_SMALL = ("schema", "bits", "added", "source", "sha256")


class Content(NamedTuple):
    """What an index is.

    bits: code length.
    codes: packed, uint8 (n, ceil(bits / 8)).
    ids: int64 or str objects (n,), or `Positions`.
    added: how many codes were ever added.
    source: which model makes the codes.
    """

    bits: int
    codes: NDArray[np.uint8]
    ids: Ids | Positions
    added: int
    source: Source | None


def write(path: Path, content: Content) -> None:
    """Write the file, or replace it at once.

    Its arrays are `schema`, `bits`, `codes`, `ids` (int64, none where they are positions; or a JSON list of
    strings as bytes, uint8), `added`, `source` (JSON, or empty) and `sha256`.
    """
    schema = _STORED.versions[0]
    source = "" if content.source is None else json.dumps(content.source.to_json())
    ids: Any = content.ids
    if _are_positions(ids):
        ids = np.empty(0, np.int64)
    elif ids.dtype == object:
        ids = json_array(ids.tolist())
    with replaced(path) as file:
        np.savez(
            file,
            schema=np.int64(schema),
            bits=np.int64(content.bits),
            codes=content.codes,
            ids=ids,
            added=np.int64(content.added),
            source=np.array(source),
            sha256=np.array(_checksum(schema, content.bits, content.added, content.codes, ids, source)),
        )


def read(path: Path) -> Content:
    """What `write` wrote, the checksum compared.

    Raises:
        ValueError: the file is something else, is damaged, or was written by a later schema.
        FileNotFoundError: there is no such file.
    """
    path.stat()
    with _STORED.reading(path):
        return _content(load_npz(path), is_whole=True)


def map_file(path: Path) -> Content:
    """The same, codes and integers as ids mapped from the file. The checksum, over all bytes, is not compared.

    Raises ValueError and FileNotFoundError as `read` does.
    """
    path.stat()
    with _STORED.reading(path):
        arrays = {name: mapped_npz(path, name) for name in ("codes", "ids")}
        return _content({**load_npz(path, _SMALL), **arrays}, is_whole=False)


def _content(arrays: dict[str, NDArray[Any]], is_whole: bool) -> Content:
    schema = _number(arrays, "schema")
    _STORED.check(schema)
    codes, stored = arrays["codes"], arrays["ids"]
    bits = _number(arrays, "bits")
    added = len(codes) if schema == 1 and codes.ndim else _number(arrays, "added")
    source = str(arrays.get("source", ""))  # indexes were written without a source once
    is_text = schema > 1 and stored.dtype == np.uint8
    fits = codes.dtype == np.uint8 and codes.ndim == 2 and stored.ndim == 1
    if not fits or not (is_text or stored.dtype == np.int64):
        raise ValueError("its arrays do not belong together")
    if is_whole and str(arrays["sha256"]) != _checksum(schema, bits, added, codes, stored, source):
        raise ValueError("it is damaged: its checksum does not match its content")
    ids: Any = np.array(loads(stored.tobytes()), object) if is_text else stored
    origin = Source.from_json(loads(source)) if source else None
    if schema == 3 and not is_text and not len(ids):
        ids = Positions(len(codes))
    if len(ids) != len(codes) or codes.shape[1] != -(-bits // 8) or added < len(codes):
        raise ValueError("its arrays do not belong together")
    return Content(bits, codes, ids, added, origin)


def _are_positions(ids: Any) -> bool:
    if isinstance(ids, Positions):
        return True
    return ids.dtype == np.int64 and bool((ids == np.arange(len(ids))).all())


def _number(arrays: dict[str, NDArray[Any]], name: str) -> int:
    value = arrays[name]
    if value.shape or value.dtype.kind not in "iu":
        raise ValueError(f"{name!r} must be an integer, got {value!r}")
    return int(value)


def _checksum(
    schema: int | str, bits: int, added: int, codes: NDArray[np.uint8], ids: NDArray[Any], source: str
) -> str:
    head = f"{schema} {bits} {len(codes)} " + ("" if schema == 1 else f"{added} {ids.dtype.kind} ")
    digest = hashlib.sha256(head.encode())
    digest.update(np.ascontiguousarray(codes).data)
    digest.update(np.ascontiguousarray(ids, ids.dtype.newbyteorder("<")).data)
    digest.update(source.encode(errors="surrogatepass"))
    return digest.hexdigest()
