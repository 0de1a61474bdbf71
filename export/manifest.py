"""The manifest of a release: what is in the folder, checked before it is used. Standard library only."""

import hashlib
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from scbch_keras.export.files import sha256_of

NAME = "manifest.json"
MODEL = "model.keras"
SAVED_MODEL = "saved_model"
SCHEMA = 1
MODALITIES = ("image", "text")
FORMATS = ("saved_model", "onnx")
ONNX_OPSET = 18
PRECISIONS = ("float32", "int8", "fp16")
"""In which an encoder's ONNX files compute."""
RAW_TEXT = "raw_text"
"""The entry of a raw text front end among the encoders."""
TEXT_PIPELINE = "text_pipeline.json"
RAW_TEXT_ONNX = "text_raw.onnx"
RAW_TEXT_OPSET = 20  # the first with StringSplit


def onnx_form(precision: str) -> str:
    """The entry of the ONNX file in that precision among those of an encoder."""
    return "onnx" if precision == "float32" else f"onnx_{precision}"


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
    name: str, input_shape: list[int | None], bits: int, dtype: Literal["float32", "string"] = "float32"
) -> dict[str, Any]:
    """Input, called `name`, and outputs of one encoder; None in a shape is any size."""
    return {
        "inputs": {name: {"shape": input_shape, "dtype": dtype}},
        "outputs": {
            "packed_codes": {"shape": [None, -(-bits // 8)], "dtype": "uint8"},
            "codes": {"shape": [None, bits], "dtype": "float32"},
        },
    }


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Path relative to `folder` (with /) -> sha256 and bytes, for every file below it but the manifest."""
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / NAME
    }


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest into a folder that nobody reads yet."""
    (folder / NAME).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of the release in `folder`.

    Raises:
        FileNotFoundError: the folder holds no manifest.
        ValueError: it is not a manifest of this schema.
    """
    path = folder / NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{folder} is no release: it holds no {NAME}. Give the folder of a version, or .../latest"
        ) from error
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}; this version reads schema {SCHEMA}")
    bits = manifest.get("bits")
    if isinstance(bits, bool) or not isinstance(bits, int) or bits < 1:
        raise ValueError(f"{path}: bits must be an integer >= 1, got {bits!r}")
    for key in ("files", "encoders", "signatures"):
        if not isinstance(manifest.get(key), dict):
            raise ValueError(f"{path}: {key!r} must be an object, got {manifest.get(key)!r}")
    return manifest


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


def read_verified(folder: Path, manifest: dict[str, Any], relative: str) -> bytes:
    """The bytes of a file of the release, after its size and sha256 are seen to be the manifest's.

    Raises:
        ValueError: the path leaves the folder, is not listed, or the file is not the one that was released.
        FileNotFoundError: the file is missing.
    """
    path = inside(folder, relative)
    entry = manifest["files"].get(relative)
    if not isinstance(entry, dict):
        raise ValueError(f"the manifest of {folder} lists no file {relative!r}")
    # Read once: what was checked is what is used, whatever happens to the file meanwhile.
    content = path.read_bytes()
    if len(content) != entry.get("bytes"):
        raise ValueError(f"{path} has {len(content)} bytes; the manifest says {entry.get('bytes')}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.get("sha256"):
        raise ValueError(f"{path} is not the file that was released: its sha256 is {digest}")
    return content
