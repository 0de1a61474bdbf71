"""The manifest of a release: what is in the folder, checked before it is used."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, Literal

from scbch_keras.checks import whole
from scbch_keras.files import loads, opened, read_bytes, sha256_of
from scbch_keras.preprocessing.image import BACKBONE_FILE, PIPELINE_FILE
from scbch_keras.stored import write_json

NAME = "manifest.json"
LATEST = "latest"
"""The link, beside the versions, to the one that is to be served."""
MODEL = "model.keras"
CARD = "MODEL_CARD.md"
SCHEMA = 2
MARKERS = ("BLESSED", "NOT_BLESSED", "INFRA_BLESSED", "INFRA_NOT_BLESSED")
"""Empty files that say how a validation ended. They and the manifest change after a release is made, so the
manifest lists no checksums of them."""
FORMATS = ("saved_model", "onnx")
ONNX_OPSET = 18
PRECISIONS = ("float32", "int8", "fp16")
"""Number formats in which an encoder's ONNX files compute."""
MAX_BYTES = 2**24
"""A longer manifest is refused."""
RAW_TEXT = "raw_text"
"""The entry of a raw text front end among the encoders."""
TEXT_PIPELINE = "text_pipeline.json"
RAW_TEXT_ONNX = "text_raw.onnx"
RAW_TEXT_OPSET = 20  # the first with StringSplit
JAVASCRIPT = "scbch.js"
"""What normalises strings for that file in JavaScript."""
RAW_IMAGE = "raw_image"
"""The entry of a raw picture front end among the encoders."""
IMAGE_PIPELINE = PIPELINE_FILE
IMAGE_BACKBONE = BACKBONE_FILE
RAW_IMAGE_ONNX = "image_raw.onnx"
TEXT_ENCODER, IMAGE_ENCODER = "text_encoder", "image_encoder"
"""The entries of ONNX encoders that make features of strings and of pictures."""


def onnx_form(precision: str) -> str:
    """The entry of the ONNX file in that precision among those of an encoder."""
    return "onnx" if precision == "float32" else f"onnx_{precision}"


QUANTIZED = tuple(onnx_form(precision) for precision in PRECISIONS[1:])
"""The entries of ONNX files whose codes are near the model's, not the same."""


def onnx_path(modality: str, precision: str) -> str:
    """The ONNX file of an encoder of features in that precision."""
    return f"{modality}.onnx" if precision == "float32" else f"{modality}.{precision}.onnx"


def packing(bits: int) -> dict[str, Any]:
    """How a code becomes bytes, in words that another language's programmer can follow."""
    return {
        "rule": "bit i is 1 if and only if codes[i] > 0",
        "order": "bit 0 is the most significant bit of byte 0; pad bits at the end are 0 (numpy.packbits)",
        "dtype": "uint8",
        "bytes": -(-bits // 8),
    }


def signature(
    name: str,
    input_shape: list[int | None],
    bits: int,
    dtype: Literal["float32", "int32", "string", "uint8"] = "float32",
) -> dict[str, Any]:
    """Inputs (one, called `name`) and outputs of one encoder; a size of None is free."""
    return inputs_signature({name: {"shape": input_shape, "dtype": dtype}}, bits)


def inputs_signature(inputs: Mapping[str, Mapping[str, Any]], bits: int) -> dict[str, Any]:
    """Inputs {name: {"shape", "dtype"}} and outputs of one encoder."""
    return {
        "inputs": {name: dict(described) for name, described in inputs.items()},
        "outputs": {
            "packed_codes": {"shape": [None, -(-bits // 8)], "dtype": "uint8"},
            "codes": {"shape": [None, bits], "dtype": "float32"},
        },
    }


def example_shapes(inputs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, list[int]]:
    """Modality -> shape of one row, where its encoder takes one array of floats of one size, as a float list can hold.

    inputs: modality -> inputs of its encoder {name: {"shape", "dtype"}}.
    """
    return {
        modality: list(described[modality]["shape"][1:])
        for modality, described in inputs.items()
        if list(described) == [modality]
        and described[modality]["dtype"] == "float32"
        and None not in described[modality]["shape"][1:]
    }


def examples_signature(rows: Mapping[str, Sequence[int]], bits: int) -> dict[str, Any]:
    """The signature of serialized tf.Example: its tensors, and the features of an example.

    rows: from `example_shapes`.
    """
    outputs: dict[str, Any] = {}
    for modality in rows:
        for name, tensor in signature(modality, [], bits)["outputs"].items():
            outputs[f"{modality}_{name}"] = tensor
        outputs[f"has_{modality}"] = {"shape": [None], "dtype": "bool"}
    return {
        "inputs": {"examples": {"shape": [None], "dtype": "string"}},
        "outputs": outputs,
        "features": {
            modality: {"list": "float_list", "shape": list(shape), "values": prod(shape), "required": False}
            for modality, shape in rows.items()
        },
    }


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Path relative to `folder` (with /) -> sha256 and bytes, for every file whose checksum a manifest lists."""
    digests = _Digests()
    relative = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        name: describe_file(folder / name, digests.of) for name in relative if name not in (NAME, *MARKERS)
    }


def describe_file(path: Path, digest: Callable[[Path], str] = sha256_of) -> dict[str, Any]:
    """What a manifest says of a file."""
    return {"sha256": digest(path), "bytes": path.stat().st_size}


def wrong_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files below `folder`, a sentence each: missing, changed, not released, not plain."""
    wrong, digests = [], _Digests()
    for relative, entry in manifest["files"].items():
        try:
            path = inside(folder, relative)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if not path.is_file():
            wrong.append(f"{relative} is missing")
        elif not isinstance(entry, dict) or path.stat().st_size != entry.get("bytes"):
            wrong.append(f"{relative} has {path.stat().st_size} bytes; the manifest says {entry!r}")
        elif digests.of(path) != entry.get("sha256"):
            wrong.append(f"{relative} is not the file that was released: its sha256 differs")
    known = {*manifest["files"], NAME, *MARKERS}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            wrong.append(f"{relative} is no plain file or folder")
        elif path.is_file() and relative not in known:
            wrong.append(f"{relative} is no file of the release")
    return wrong


class _Digests:
    """Checksums of files. A file with several links is read only once."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], str] = {}

    def of(self, path: Path) -> str:
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in self.known:
            self.known[key] = sha256_of(path)
        return self.known[key]


def write(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write or replace the manifest, with a checksum of itself, and return it; readers see a whole one."""
    whole = {**manifest, "sha256": _sha256(manifest)}
    write_json(folder / NAME, whole, indent=2, end="\n")
    return whole


def content_sha256(manifest: Mapping[str, Any]) -> str:
    """Of what a manifest says of the release itself, which no later validation changes."""
    return _sha256({key: value for key, value in manifest.items() if key != "validation"})


def _sha256(manifest: Mapping[str, Any]) -> str:
    """Checksum over everything else in the manifest."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read(folder: Path) -> dict[str, Any]:
    """The manifest of the release in `folder`.

    Raises:
        FileNotFoundError: the folder holds no manifest.
        ValueError: it is not a manifest of this schema, or no plain file.
    """
    return read_with_digest(folder)[0]


def read_with_digest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest, as `read` gives it, and the SHA-256 of its file."""
    path = folder / NAME
    try:
        content = read_bytes(path, MAX_BYTES, links=False)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{folder} is no release: it holds no {NAME}. Give the folder of a version, or .../latest"
        ) from error
    try:
        manifest = loads(content)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema == 1:
        raise ValueError(
            f"{path} has schema 1, of an earlier scbch_keras; this version reads schema {SCHEMA}. Release its "
            f"{MODEL} again: export.release(keras.saving.load_model('{folder / MODEL}'), folder)"
        )
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}; this version reads schema {SCHEMA}")
    if manifest.get("sha256") != _sha256(manifest):
        raise ValueError(f"{path} is not as it was written: its sha256 differs from the one it holds")
    whole(f"{path}: bits", manifest.get("bits"), 1)
    for key in ("files", "encoders", "signatures"):
        if not isinstance(manifest.get(key), dict):
            raise ValueError(f"{path}: {key!r} must be an object, got {manifest.get(key)!r}")
    formats = manifest.get("formats", [])
    if not isinstance(formats, list) or not all(isinstance(name, str) for name in formats):
        raise ValueError(f"{path}: 'formats' must be a list of names, got {formats!r}")
    return manifest, hashlib.sha256(content).hexdigest()


def inside(folder: Path, relative: Any) -> Path:
    """`relative` below `folder`, refused if it could lead anywhere else.

    Raises:
        ValueError: the path is absolute, has a `..` or something other than plain `/`, or passes a
            symbolic link.
    """
    parts = PurePosixPath(relative).parts if isinstance(relative, str) else ()
    leaves = ".." in parts or parts[:1] == ("/",) or parts[:1] == ("//",)
    if not parts or leaves or "\\" in relative or "\0" in relative or PureWindowsPath(relative).drive:
        raise ValueError(f"the manifest of {folder} names {relative!r}, not a path inside the folder")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ValueError(
                f"the manifest of {folder} names {relative!r}, which passes the symbolic link {part!r}"
            )
    return path


def read_verified(folder: Path, manifest: Mapping[str, Any], relative: str) -> bytes:
    """The bytes of a file of the release, after its size and sha256 are seen to be the manifest's.

    Raises as `open_listed` and `verified` do.
    """
    with open_listed(folder, manifest, relative) as file:
        return verified(file, folder, manifest, relative)


def open_listed(folder: Path, manifest: Mapping[str, Any], relative: str) -> BinaryIO:
    """A file of the release, opened: it can be read also when the release was deleted since.

    Raises:
        ValueError: the path leaves the folder, is not listed, or is of no plain file.
        FileNotFoundError: the file is missing.
    """
    path = inside(folder, relative)
    listed(folder, manifest, relative)
    return opened(path, links=False)


def verified(file: BinaryIO, folder: Path, manifest: Mapping[str, Any], relative: str) -> bytes:
    """The bytes of a file that `open_listed` opened, of the size and sha256 that the manifest says.

    Raises ValueError if it is not the file that was released.
    """
    path, entry = folder / relative, listed(folder, manifest, relative)
    size = os.fstat(file.fileno()).st_size
    if size != entry.get("bytes"):
        raise ValueError(f"{path} has {size} bytes; the manifest says {entry.get('bytes')!r}")
    # Read once: what was checked is what is used, whatever happens to the file meanwhile.
    content = _whole(file, size)
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.get("sha256"):
        raise ValueError(
            f"{path} is not the file that was released: its sha256 is {digest}; the manifest says "
            f"{entry.get('sha256')!r}"
        )
    return content


def _whole(file: BinaryIO, size: int) -> bytes:
    """The content, without moving the file's position, which other processes may share."""
    if not hasattr(os, "pread"):
        file.seek(0)
        return file.read(size)
    parts, start = [], 0
    while start < size and (part := os.pread(file.fileno(), size - start, start)):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def listed(folder: Path, manifest: Mapping[str, Any], relative: str) -> dict[str, Any]:
    """What the manifest says of one file. Raises ValueError if it lists none of that path."""
    entry = manifest["files"].get(relative)
    if not isinstance(entry, dict):
        raise ValueError(f"the manifest of {folder} lists no file {relative!r}")
    return entry
