"""Packed codes in files: written as they are made, opened with the model that made them beside. numpy only."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import one_of, shown
from scbch_keras.codes import check_packed
from scbch_keras.export.format.source import Source
from scbch_keras.export.serving.encoder import HashEncoder
from scbch_keras.export.serving.index import HammingIndex
from scbch_keras.export.stores.address import address, is_url
from scbch_keras.export.stores.index import StoredIndex
from scbch_keras.files import loads, opened, read_bytes, replaced, sha256_of
from scbch_keras.modalities import MODALITIES
from scbch_keras.safe_text import NO_LINE
from scbch_keras.stored import FileKind

_DESCRIPTION = FileKind("what describes codes", "schema", (1,))
_MAX_DESCRIPTION = 2**20

Block = tuple[Any, Sequence[str] | None]
"""Inputs that `HashEncoder.image` or `.text` takes, and the id of each, or None where they have none."""


def description_path(path: Path) -> Path:
    """The file beside codes that says what they are."""
    return path.with_name(f"{path.name}.json")


def ids_path(path: Path) -> Path:
    """The file beside codes with their ids, one a line."""
    return path.with_name(f"{path.name}.ids.txt")


def encode_file(
    encoder: HashEncoder,
    modality: str,
    blocks: Iterable[Block],
    path: str | os.PathLike[str],
    *,
    batch_size: int = 1024,
    progress: Callable[[int], None] = lambda rows: None,
) -> int:
    """Blocks of inputs -> packed codes in `path`, uint8 (n, ceil(bits / 8)) as .npy.

    Beside it PATH.json (bits, release, checksums) and, where the inputs have ids, PATH.ids.txt. One block is in
    memory at a time. The codes appear last: where they are, they are whole, and so is what stands beside them.

    Args:
        encoder: gives the codes, and its release their source.
        modality: "image" or "text".
        path: ends in .npy; nothing may be there yet.
        blocks: pairs of inputs and their ids; ids are strings without line breaks, all blocks have them or none has.
        batch_size: rows that enter the network together.
        progress: called with the number of rows of each block that is done.

    Returns:
        n, the number of rows that were encoded.

    Raises:
        FileExistsError: one of the three files is there already.
        ValueError: `path` is no .npy, or inputs or ids that are refused; nothing is left then.
    """
    modality = one_of("modality", modality, MODALITIES)
    path = Path(path)
    if path.suffix != ".npy":
        raise ValueError(f"codes are written to a .npy file, got {path}")
    described, named = description_path(path), ids_path(path)
    for file in (path, described, named):
        if file.exists():
            raise FileExistsError(f"{file} is there already; name another file or delete it")
    source = Source.of(encoder)
    try:
        with replaced(path) as codes_file, replaced(described) as description, ExitStack() as stack:
            ids_file: BinaryIO | None = None
            rows = 0
            _write_header(codes_file, 0, encoder.bits)
            for block in blocks:
                inputs, ids = _checked_block(block, rows)
                if rows == 0 and ids is not None and ids_file is None:
                    ids_file = stack.enter_context(replaced(named))
                try:
                    codes = getattr(encoder, modality)(inputs, batch_size=batch_size)
                except ValueError as error:
                    raise ValueError(f"in the inputs from row {rows} on (its row 0): {error}") from error
                if (ids is None) != (ids_file is None):
                    raise ValueError("blocks must all have ids, or none of them")
                if ids is not None and ids_file is not None:
                    if len(ids) != len(codes):
                        raise ValueError(f"ids must be one for each of {len(codes)} inputs, got {len(ids)}")
                    ids_file.write("".join(f"{name}\n" for name in ids).encode())
                codes_file.write(codes.data)
                rows += len(codes)
                progress(len(codes))
            _write_header(codes_file, rows, encoder.bits)
            codes_file.flush()
            if ids_file is not None:
                ids_file.flush()
            content = {
                "bits": encoder.bits,
                "modality": modality,
                "rows": rows,
                "source": source.to_json(),
                "sha256": sha256_of(Path(codes_file.name)),
                "ids_sha256": None if ids_file is None else sha256_of(Path(ids_file.name)),
            }
            description.write((json.dumps(_DESCRIPTION.marked(content), indent=2) + "\n").encode())
    except BaseException:
        if not path.exists():
            described.unlink(missing_ok=True)
            named.unlink(missing_ok=True)
        raise
    return rows


@dataclass(frozen=True)
class CodesFile:
    """What `encode_file` wrote. Two with the same content are equal, wherever they lie.

    Pickled or copied it travels as its path and checksum: where it arrives the files are opened again, and files that
    are others by then are refused.

    codes: packed, uint8 (n, ceil(bits / 8)), mapped from the file.
    ids: the id of each row, or None where the inputs had none.
    sha256: of PATH.json, which has the checksums of codes and ids.
    """

    path: Path = field(compare=False)
    codes: NDArray[np.uint8] = field(compare=False)
    bits: int
    modality: str
    source: Source
    ids: list[str] | None = field(compare=False)
    sha256: str

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (type(self), str(self.path.absolute()), self.sha256)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open codes and what stands beside them, their checksums compared.

        Args:
            path: of the codes, .npy.

        Returns:
            The codes, memory-mapped, with their source and ids.

        Raises:
            FileNotFoundError: there are no codes, or nothing beside says which model made them.
            ValueError: one of the files is damaged, or belongs to other codes.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file")
        described, named = description_path(path), ids_path(path)
        if not described.exists():
            raise FileNotFoundError(
                f"{described} is missing: without it nobody knows which model made {path.name}. "
                "Write codes with `scbch encode` or encode_file, and move the files together"
            )
        description = read_bytes(described, _MAX_DESCRIPTION)
        with _DESCRIPTION.reading(described):
            stored = _DESCRIPTION.unmarked(loads(description))
            source = Source.from_json(stored["source"])
            bits, rows, ids_sha256 = stored["bits"], stored["rows"], stored["ids_sha256"]
            modality, sha256 = stored["modality"], stored["sha256"]
            if modality not in MODALITIES:
                raise ValueError(f"modality must be one of {MODALITIES}, got {modality!r}")
        damaged = f"{path} is damaged, or not the codes that {described.name} describes"
        if sha256_of(path) != sha256:
            raise ValueError(damaged)
        try:
            codes = np.load(path, mmap_mode="r", allow_pickle=False)
            check_packed(str(path), codes, bits)
        except Exception as error:  # the header of an array fails in a dozen ways
            raise ValueError(f"{damaged}: {error}") from error
        if len(codes) != rows:
            raise ValueError(f"{damaged}: it has {len(codes)} rows, not {rows!r}")
        ids = None
        if ids_sha256 is not None:
            with opened(named) as file:
                content = file.read()
            if hashlib.sha256(content).hexdigest() != ids_sha256 or content.count(b"\n") != rows:
                raise ValueError(f"{named} is damaged, or not the ids of {path.name}")
            try:
                ids = content.decode().split("\n")[:-1]
            except UnicodeDecodeError as error:
                raise ValueError(f"{named} must be UTF-8: {error}") from error
        return cls(path, codes, bits, modality, source, ids, hashlib.sha256(description).hexdigest())

    def index(self, *, named: bool = True) -> HammingIndex:
        """An index of these codes.

        Args:
            named: whether its ids are those of the file, strings, where it has some; else they are the rows.

        Returns:
            An index that holds the codes of all rows.

        Raises:
            ValueError: an id stands twice in the file.
        """
        index = HammingIndex(self.bits, source=self.source)
        try:
            index.add(np.asarray(self.codes), self.ids if named else None)
        except ValueError as error:
            raise ValueError(
                f"{ids_path(self.path)}: {error}; index(named=False) has the rows as ids"
            ) from error
        return index


def open_index(path: str | os.PathLike[str]) -> tuple[HammingIndex | StoredIndex, list[str] | None]:
    """Open codes (.npy, of `encode_file`), an index (.npz), or a store ("SCHEME://...#TABLE") for search.

    Args:
        path: of the file.

    Returns:
        The index, and the names of its ids: of codes the ids of the file, an id being a row; None where an id has no
        other name.

    Raises:
        FileNotFoundError: it, or what must stand beside it, is missing.
        ValueError: it is neither, or is damaged; what `HammingIndex.connect` refuses.
        ConnectionError: the store does not answer.
    """
    if is_url(path):
        return HammingIndex.connect(str(path)), None
    if Path(path).suffix == ".npz":
        return HammingIndex.load(path), None
    codes = CodesFile.open(path)
    return codes.index(named=False), codes.ids


def shown_path(path: str | os.PathLike[str]) -> str:
    """What `open_index` opens, as messages call it: a URL without user and password."""
    return address(str(path)).place if is_url(path) else str(path)


def _reopened(cls: type[CodesFile], path: str, sha256: str) -> CodesFile:
    """What was pickled, opened again where it arrived."""
    codes = cls.open(path)
    if codes.sha256 != sha256:
        raise ValueError(
            f"{path} is not the file that was open when it was pickled or copied: the checksum of "
            f"{description_path(codes.path).name} was {sha256} and is {codes.sha256}. Open it anew"
        )
    return codes


def _write_header(file: BinaryIO, rows: int, bits: int) -> None:
    """Write or rewrite the .npy header, which numpy pads so that the number of rows can grow in place."""
    file.seek(0)
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, -(-bits // 8))}
    np.lib.format.write_array_header_1_0(file, header)


def _checked_block(block: Any, row: int) -> tuple[Any, list[str] | None]:
    """Inputs and ids of a block whose first row is `row`. Raises ValueError for ids that no line can hold."""
    if not isinstance(block, tuple) or len(block) != 2:
        raise ValueError(f"blocks must be pairs (inputs, ids or None), got {type(block).__name__}")
    inputs, ids = block
    if ids is None:
        return inputs, None
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise ValueError(f"ids must be a list of strings, or None, got {shown(ids)}")
    ids = list(ids)
    for place, name in enumerate(ids, row):
        if not isinstance(name, str):
            raise ValueError(f"ids must be strings, got {type(name).__name__} {shown(name)} at row {place}")
        if NO_LINE.search(name):
            raise ValueError(
                f"ids are written one a line in UTF-8 and must not hold line breaks or lone surrogates, got {name!r} "
                f"at row {place}; if it is the name of a file, rename that"
            )
    return inputs, ids
