"""The folder of an encoder: its ONNX file, and what is written beside of how it is used."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scbch_keras.checks import one_of, shown, whole
from scbch_keras.files import sha256_of, stored_json, sync
from scbch_keras.preprocessing.pooling import POOLINGS

SETTINGS_FILE = "encoder.json"
"""Settings of an encoder beside its ONNX file, as `TextEncoder.open` and `ImageEncoder.open` take them."""


def onnx_file(path: Path) -> Path:
    """The ONNX file that a path means: itself, or the one of a folder, also in its subfolder onnx.

    Raises ValueError where there is none, or where it is not clear which.
    """
    if path.suffix == ".onnx" and path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path}: expected an .onnx file, or the folder of an encoder; there is none")
    for folder in (path, path / "onnx"):
        if (folder / "model.onnx").is_file():
            return folder / "model.onnx"
        files = sorted(folder.glob("*.onnx"))
        if len(files) == 1:
            return files[0]
        if files:
            names = ", ".join(file.name for file in files)
            raise ValueError(
                f"{folder}: expected one .onnx file or model.onnx, got {names}: name the file itself"
            )
    others = sorted(file.name for file in path.glob("*") if file.suffix in (".safetensors", ".bin", ".pt"))
    hint = ""
    if others:
        hint = f" ({others[0]} is of another format: optimum-cli export onnx --model {path} OUT makes one)"
    raise ValueError(f"{path}: expected an .onnx file in the folder, got none{hint}")


def read_settings(path: Path, known: Mapping[str, Callable[[str, Any], Any]]) -> dict[str, Any]:
    """The settings of `SETTINGS_FILE` in a folder, checked; none where there is no such file.

    known: name -> what checks a value, called with its name for messages.
    Raises ValueError for anything else.
    """
    file = path / SETTINGS_FILE
    if not file.is_file():
        return {}
    try:
        stored = stored_json(file)
    except ValueError as error:
        raise ValueError(f"{file}: expected JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{file}: expected an object of settings, got {shown(stored)}")
    unknown = [name for name in stored if name not in known]
    if unknown:
        raise ValueError(f"{file}: there is no setting {unknown[0]!r}; there are {', '.join(known)}")
    return {name: known[name](f"{file}: {name}", value) for name, value in stored.items()}


def check_pooling(name: str, value: Any) -> str:
    """One of `POOLINGS`. Raises ValueError."""
    return one_of(name, value, POOLINGS)


def check_count(name: str, value: Any) -> int:
    """A whole number of at least 1. Raises ValueError."""
    return whole(name, value, 1)


def chosen_output(source: Any, outputs: Mapping[str, Mapping[str, Any]], wanted: str | None) -> str:
    """Which output holds the features: the wanted one, the only one, or that of a usual name.

    Raises ValueError where it is not there or not clear.
    """
    names = list(outputs)
    if wanted is not None:
        if wanted not in outputs:
            raise ValueError(f"{source}: output: expected one of {', '.join(names)}, got {wanted!r}")
        return wanted
    usual = [name for name in ("last_hidden_state", "token_embeddings") if name in outputs]
    if len(names) > 1 and not usual:
        raise ValueError(
            f"{source}: expected one output, got {len(names)}: {', '.join(names)}; say which with "
            f'"output" in {SETTINGS_FILE}'
        )
    return usual[0] if usual else names[0]


def copy_files(source: str, made_of: Mapping[str, tuple[Path, str]] | None, folder: Path) -> None:
    """Copy the files of an encoder under their names, each with the sha256 that it had when it was opened.

    Raises ValueError for one that has changed since, and where there is none to copy.
    """
    if made_of is None:
        raise ValueError(f"{source} was opened from a release, whose files are copied with it")
    for name, (path, digest) in made_of.items():
        shutil.copyfile(path, folder / name)
        if sha256_of(folder / name) != digest:
            raise ValueError(f"{path} has changed since it was opened: open the encoder again")
        sync(folder / name)
