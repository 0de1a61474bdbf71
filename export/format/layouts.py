"""Where servers find the models of a release: folders that TensorFlow Serving, KServe and Triton take as they are."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from scbch_keras.export.format import manifest as manifests
from scbch_keras.preprocessing import normalization

SAVED_MODEL = "saved_model"
TRITON = "triton"
TRITON_STRINGS = "triton_strings"
"""A repository of its own: its model needs onnxruntime's Python package, and a server ends if a model cannot start."""
MAX_BATCH_SIZE = 1024
"""Rows that Triton puts into one call at most."""
_NAME = re.compile("[A-Za-z0-9_-]+")
_TRITON_TYPES = {
    "float32": "TYPE_FP32",
    "uint8": "TYPE_UINT8",
    "string": "TYPE_STRING",
    "int32": "TYPE_INT32",
}
_BESIDE_MODEL = ("normalization.py", "punctuation_14.txt", "unassigned_14.txt")


def check_name(name: Any) -> str:
    """The name by which servers know a model. Raises ValueError unless it is made of A-Z, a-z, 0-9, - and _."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            "name must consist of letters A-Z and a-z, digits, '-' and '_' (servers have it in their URLs); "
            f"got {name!r}. Without name= the name of the folder is taken"
        )
    return name


def saved_model_path(name: str, version: int) -> str:
    """Path of the SavedModel in a release: TensorFlow Serving reads `<name>/<version>/saved_model.pb`."""
    return f"{SAVED_MODEL}/{name}/{version}"


def onnx_files(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Path of each ONNX file -> its entry among the encoders; quantized ones are entries "onnx_..."."""
    return {
        entry["path"]: entry
        for encoder in manifest["encoders"].values()
        for kind, entry in encoder.items()
        if kind.startswith("onnx")
    }


def server_layouts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's entry on servers: the paths, relative to the release, that each of them needs."""
    name, layouts = manifest["name"], {}
    if "saved_model" in manifest["formats"]:
        base = f"{SAVED_MODEL}/{name}"
        layouts = {
            "tensorflow_serving": {"model_name": name, "model_base_path": base},
            "kserve": {"model_format": "tensorflow", "storage": base},
        }
    if "onnx" in manifest["formats"]:
        models = {triton_name(name, path): path for path in onnx_files(manifest)}
        layouts["triton"] = {"model_repository": TRITON, "models": models}
        if manifests.RAW_TEXT in manifest["encoders"]:
            strings = {"model_repository": TRITON_STRINGS, "model": f"{name}_strings", "backend": "python"}
            layouts["triton_strings"] = {**strings, "needs": ["numpy", "onnxruntime"]}
            layouts["javascript"] = {"module": manifests.JAVASCRIPT}
    return layouts


def triton_name(name: str, onnx: str) -> str:
    """`<name>_<the ONNX file's name>`, as Triton knows it."""
    return f"{name}_{PurePosixPath(onnx).stem.replace('.', '_')}"


def write_onnx_clients(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write what serves or feeds the ONNX files of the release, from its description (`server_layouts`).

    That is Triton's model repository, a folder for each ONNX file, which it links to; and for a release that takes
    strings, which ONNX cannot normalise, Triton's repository of the model that does and the module for JavaScript.
    """
    for path, entry in onnx_files(manifest).items():
        name = triton_name(manifest["name"], path)
        version = folder / TRITON / name / str(manifest["version"])
        version.mkdir(parents=True)
        config = triton_config(
            name,
            manifest["signatures"][entry["signature"]],
            comment=f"Input {entry['input']}." if path == manifests.RAW_TEXT_ONNX else None,
        )
        (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
        _link(folder / path, version / "model.onnx")
    described = manifest["layouts"]
    if "triton_strings" in described:
        _write_strings_model(folder, described["triton_strings"]["model"], manifest)
    if "javascript" in described:
        shutil.copyfile(Path(__file__).with_name("scbch.js"), folder / described["javascript"]["module"])


def _write_strings_model(folder: Path, name: str, manifest: Mapping[str, Any]) -> None:
    version = folder / TRITON_STRINGS / name / str(manifest["version"])
    version.mkdir(parents=True)
    signature = dict(manifest["signatures"]["encode_raw_text"])
    signature["outputs"] = signature["outputs"] | {"known_words": {"shape": [None], "dtype": "int32"}}
    config = triton_config(
        name,
        signature,
        backend="python",
        comment="Raw UTF-8 strings; known_words: how many words of each text the release knows, with 0 its code says "
        "nothing.",
    )
    # A GPU would have an instance each, and none uses it.
    config += "instance_group [ { kind: KIND_CPU } ]\n"
    (version.parent / "config.pbtxt").write_text(config, encoding="utf-8")
    here = Path(__file__)
    shutil.copyfile(here.with_name("triton_strings.py"), version / "model.py")
    for beside in _BESIDE_MODEL:
        shutil.copyfile(Path(normalization.__file__).with_name(beside), version / beside)
    for path in (manifests.RAW_TEXT_ONNX, manifests.TEXT_PIPELINE):
        _link(folder / path, version / path)


def _link(path: Path, name: Path) -> None:
    try:
        os.link(path, name)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, name)


def triton_config(
    name: str, signature: Mapping[str, Any], backend: str = "onnxruntime", comment: str | None = None
) -> str:
    """config.pbtxt of a model with that signature; Triton puts rows of many calls together."""
    tensors = [
        f'{kind} {{\n  name: "{tensor}"\n  data_type: {_TRITON_TYPES[described["dtype"]]}\n'
        f"{_dims(described['shape'])}}}\n"
        for kind, side in (("input", "inputs"), ("output", "outputs"))
        for tensor, described in signature[side].items()
    ]
    head = f'name: "{name}"\nbackend: "{backend}"\nmax_batch_size: {MAX_BATCH_SIZE}\n'
    return (f"# {comment}\n" if comment else "") + head + "".join(tensors) + "dynamic_batching { }\n"


def _dims(shape: list[int | None]) -> str:
    """The shape without the batch."""
    if len(shape) == 1:
        # Triton wants a dimension at least; the model's tensor has none but the batch.
        return "  dims: [ 1 ]\n  reshape { shape: [ ] }\n"
    return f"  dims: [ {', '.join('-1' if size is None else str(size) for size in shape[1:])} ]\n"
