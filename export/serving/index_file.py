"""The file of a HammingIndex: an uncompressed .npz of plain arrays, with a checksum over them."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.format.source import Source
from scbch_keras.files import loads, replaced
from scbch_keras.ids import Ids
from scbch_keras.npz import read_npz

_SCHEMA = 2
"""1 had neither strings as ids nor `added`."""


class Content(NamedTuple):
    """What an index is.

    bits: code length.
    codes: packed, uint8 (n, ceil(bits / 8)).
    ids: int64 or str objects (n,).
    added: how many codes were ever added.
    source: which model makes the codes.
    """

    bits: int
    codes: NDArray[np.uint8]
    ids: Ids
    added: int
    source: Source | None


def write(path: Path, content: Content) -> None:
    """Write the file, or replace it at once.

    Its arrays are `schema`, `bits`, `codes`, `ids` (int64, or a JSON list of strings as bytes, uint8), `added`,
    `source` (JSON, or empty) and `sha256`.
    """
    source = "" if content.source is None else json.dumps(content.source.to_json())
    ids = content.ids
    if ids.dtype == object:
        ids = np.frombuffer(json.dumps(ids.tolist()).encode(), np.uint8)
    with replaced(path) as file:
        np.savez(
            file,
            schema=np.int64(_SCHEMA),
            bits=np.int64(content.bits),
            codes=content.codes,
            ids=ids,
            added=np.int64(content.added),
            source=np.array(source),
            sha256=np.array(
                _checksum(_SCHEMA, content.bits, content.added, content.codes, ids, source),
            ),
        )


def read(path: Path) -> Content:
    """What `write` wrote, the checksum compared.

    Raises:
        ValueError: the file is something else, is damaged, or was written by a later schema.
        FileNotFoundError: there is no such file.
    """
    kind = "HammingIndex file"
    arrays = read_npz(path, kind, ("schema", "bits", "codes", "ids", "sha256"))
    schema = _number(path, arrays, "schema")
    if schema not in (1, _SCHEMA):
        raise ValueError(f"{path} has schema {schema}; this version reads schema {_SCHEMA} and 1")
    codes, stored = arrays["codes"], arrays["ids"]
    bits = _number(path, arrays, "bits")
    added = len(codes) if schema == 1 and codes.ndim else _number(path, arrays, "added")
    source = str(arrays.get("source", ""))  # indexes were written without a source once
    is_text = schema > 1 and stored.dtype == np.uint8
    if (
        codes.dtype != np.uint8
        or codes.ndim != 2
        or stored.ndim != 1
        or not (is_text or stored.dtype == np.int64)
    ):
        raise ValueError(f"{path} is not a {kind}: its arrays do not belong together")
    if str(arrays["sha256"]) != _checksum(schema, bits, added, codes, stored, source):
        raise ValueError(f"{path} is damaged: its checksum does not match its content")
    try:
        ids: Ids = np.array(loads(stored.tobytes()), object) if is_text else stored
        origin = Source.from_json(loads(source)) if source else None
    except ValueError as error:
        raise ValueError(f"{path} is not a {kind}: {error}") from error
    if ids.shape != codes.shape[:1] or added < len(codes):
        raise ValueError(f"{path} is not a {kind}: its arrays do not belong together")
    return Content(bits, codes, ids, added, origin)


def _number(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> int:
    value = arrays.get(name)
    if value is None or value.shape or value.dtype.kind not in "iu":
        raise ValueError(f"{path} is not a HammingIndex file: {name!r} must be an integer, got {value!r}")
    return int(value)


def _checksum(
    schema: int, bits: int, added: int, codes: NDArray[np.uint8], ids: NDArray[Any], source: str
) -> str:
    head = f"{schema} {bits} {len(codes)} " + ("" if schema == 1 else f"{added} {ids.dtype.kind} ")
    digest = hashlib.sha256(head.encode())
    digest.update(np.ascontiguousarray(codes).data)
    digest.update(np.ascontiguousarray(ids, ids.dtype.newbyteorder("<")).data)
    digest.update(source.encode(errors="surrogatepass"))
    return digest.hexdigest()
