"""A trained model -> a release: a verified folder that appears at once or not at all."""

import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.export import files
from scbch_keras.export import manifest as manifests
from scbch_keras.export.child import run_module
from scbch_keras.export.precision import Loss, checked_precisions, note_losses
from scbch_keras.export.text import NORMALIZATION, TextPipeline

LATEST = "latest"
_SEED = 20
_ONNX_LIMIT = 2**31  # a protobuf file cannot be larger, and ONNX is one
_NEEDS = {"saved_model": ("tensorflow",), "onnx": ("tensorflow", "tf2onnx", "onnx", "onnxruntime")}
_LIBRARIES = (
    "scbch_keras keras numpy tensorflow tensorflow-text jax torch "  # noqa: SIM905
    "tf2onnx onnx onnxruntime onnxruntime-gpu".split()
)


@dataclass(frozen=True)
class Release:
    """A released version.

    path: its folder, `<folder>/<version>`.
    version: its number.
    manifest: what its manifest.json says.
    """

    path: Path
    version: int
    manifest: Mapping[str, Any]


def release(
    model: Any,
    folder: str | os.PathLike,
    formats: Sequence[str] = ("saved_model", "onnx"),
    version: int | None = None,
    *,
    text: TextPipeline | None = None,
    quantize: Sequence[str] = (),
    tolerance: float = 1e-5,
) -> Release:
    """Export, verify and publish a trained model as `<folder>/<version>`, and point `<folder>/latest` at it.

    The encoders are rebuilt on TensorFlow from the saved model, whatever backend trained it, and written as a
    SavedModel (signatures encode_image, encode_text, serving_default) and as image.onnx and text.onnx, beside
    model.keras, which goes on training under any backend. Then a fresh process opens them without Keras and
    compares their codes, on seeded inputs, with those that `model` computes here. On any error nothing is
    left behind.

    Args:
        model: a built `SCBCH`, or another `CrossModalHashing`.
        folder: where the versions lie; made if it is missing.
        formats: from "saved_model" and "onnx", at least one. `HashEncoder` needs "onnx".
        version: int >= 1 that is not taken; None for the next after the highest.
        text: how the text features were made from strings (`TextFeatures.pipeline`); the release then takes
            strings as well: text_pipeline.json, which lets `HashEncoder.text` do so, the SavedModel signature
            encode_raw_text, and text_raw.onnx for strings that were normalised before.
        quantize: from "int8" and "fp16": also write image.int8.onnx and so on, which take a quarter and half of the
            space, for `HashEncoder(..., precision="int8")`; needs the format "onnx". The manifest says what share
            of the bits they change; one that changes more than 2 % is an error.
        tolerance: by how much an exported code in [-1, 1] may differ from the model's. A bit may differ only
            where the model's code is that close to zero; the manifest says how many do. A release
            computes in float32: a model that computes in half precision, or in TF32 on a GPU, rounds its own
            codes more coarsely and needs more than the default.

    Raises:
        ValueError: the model is not built, or an argument is wrong.
        TypeError: `model` is not a CrossModalHashing, or `text` no TextPipeline.
        FileExistsError: the version exists, or `latest` is not a symbolic link.
        ImportError: a package that a format needs is missing.
        RuntimeError: building or verifying failed, with the last lines of the process that did it, or a precision
            of `quantize` loses too much.
    """
    formats = _checked_formats(formats, text)
    quantize = checked_precisions(quantize, formats)
    _check_model(model, formats)
    _check_text(model, text)
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be a number in [0, 1), got {tolerance!r}")
    folder = Path(folder)
    version = _free_version(folder, version)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / str(version)
    staging = files.hidden_sibling(target)
    try:
        staging.mkdir()
        model.save(staging / manifests.MODEL)
        if text is not None:
            text.save(staging / manifests.TEXT_PIPELINE)
        _build(staging, formats)
        if quantize:
            arguments = [str(staging), "--precisions", *quantize]
            run_module("scbch_keras.export.quantize", arguments, "quantizing the ONNX files")
        manifest = _manifest(model, staging, formats, version, text, quantize)
        manifests.write(staging, manifest)
        manifest["verification"], lost = _verify(model, staging, formats, float(tolerance), text)
        note_losses(manifest, lost)
        manifests.write(staging, manifest)
        files.sync_tree(staging)
        _publish(staging, target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()
        raise
    return Release(target, version, manifest)


def versions(folder: str | os.PathLike) -> list[int]:
    """The versions in `folder`, ascending. Releases under way have hidden names and are not among them."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if re.fullmatch("[1-9][0-9]*", path.name))


def _checked_formats(formats: Sequence[str], text: TextPipeline | None) -> tuple[str, ...]:
    if isinstance(formats, str) or not formats or set(formats) - set(manifests.FORMATS):
        raise ValueError(f"formats must be taken from {manifests.FORMATS}, at least one; got {formats!r}")
    needed = dict.fromkeys(package for name in formats for package in _NEEDS[name])
    if text is not None and "saved_model" in formats:
        needed["tensorflow_text"] = None
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        with_text = "" if text is None else " with text"
        raise ImportError(
            f"formats {tuple(formats)}{with_text} need {', '.join(missing)}: pip install 'scbch_keras[export,onnx]' "
            "(or onnx-gpu instead of onnx)"
        )
    return tuple(name for name in manifests.FORMATS if name in formats)


def _check_model(model: Any, formats: Sequence[str]) -> None:
    from scbch_keras.hashing import CrossModalHashing

    if not isinstance(model, CrossModalHashing):
        raise TypeError(f"model must be an SCBCH or another CrossModalHashing, got {type(model).__name__}")
    branches = {modality: getattr(model, f"{modality}_branch") for modality in manifests.MODALITIES}
    if set(model.get_build_config()["input_shape"]) != set(branches):
        raise ValueError("model is not built, so there is nothing to export: call fit or build first")
    if "onnx" in formats:
        for modality, branch in branches.items():
            size = 4 * sum(int(np.prod(weight.shape)) for weight in branch.weights)
            if size >= _ONNX_LIMIT:
                raise ValueError(
                    f"the {modality} branch has {size / 2**30:.2f} GiB of weights; an ONNX file holds "
                    "less than 2 GiB. Use formats=('saved_model',)"
                )


def _check_text(model: Any, text: TextPipeline | None) -> None:
    if text is None:
        return
    if not isinstance(text, TextPipeline):
        raise TypeError(
            f"text must be a TextPipeline (TextFeatures.pipeline() gives one), got {type(text).__name__}"
        )
    shape = tuple(model.get_build_config()["input_shape"]["text"][1:])
    if shape != (text.dimensions,):
        raise ValueError(
            f"text has {text.dimensions} words; the text branch takes features of shape {shape}. Give the "
            "pipeline that made the features of the training"
        )


def _free_version(folder: Path, version: int | None) -> int:
    """The version to write, after seeing that it can be written."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"folder {folder} is a file")
    latest = folder / LATEST
    if latest.exists() and not latest.is_symlink():
        raise FileExistsError(f"{latest} is not a symbolic link, so it cannot be pointed at a new version")
    if version is None:
        return max(versions(folder), default=0) + 1
    if isinstance(version, bool) or not isinstance(version, Integral) or version < 1:
        raise ValueError(f"version must be an integer >= 1 or None, got {version!r}")
    if (folder / str(int(version))).exists():
        raise FileExistsError(f"version {version} exists already in {folder}; versions are never overwritten")
    return int(version)


def _build(staging: Path, formats: Sequence[str]) -> None:
    import keras

    if keras.backend.backend() == "tensorflow":
        from scbch_keras.export.build import build

        try:
            build(staging, formats)
        except Exception as error:
            raise RuntimeError(f"exporting the model with TensorFlow failed: {error}") from error
        return
    run_module(
        "scbch_keras.export.build",
        [str(staging), "--formats", *formats, "--modules", *_registering_modules(staging / manifests.MODEL)],
        "exporting the model with TensorFlow",
    )


def _registering_modules(path: Path) -> list[str]:
    """The modules whose import registers the user's own layers of a saved model."""
    import keras

    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    modules: dict[str, str] = {}
    for name, registered in keras.saving.get_custom_objects().items():
        if json.dumps(name) in config:
            modules[registered.__module__] = registered.__name__
    if "__main__" in modules:
        raise ValueError(
            f"model uses {modules['__main__']}, defined in __main__, which the exporting process cannot "
            "import: move it to a module of its own, or make the release in a session on TensorFlow"
        )
    return sorted(name for name in modules if name.split(".")[0] not in ("keras", "scbch_keras"))


def _verify(
    model: Any, staging: Path, formats: Sequence[str], tolerance: float, text: TextPipeline | None
) -> tuple[dict[str, Any], dict[str, Loss]]:
    """The codes that `model` computes here against those of the files, opened in a fresh process."""
    from scbch_keras.export.signatures import input_shapes
    from scbch_keras.export.verify import BATCHES, ROWS, probes, text_probes

    expected: dict[str, Any] = {}

    def expect(name: str, inputs: Any, encode: Any, features: Any) -> None:
        expected[name] = inputs
        expected[f"{name}_packed"] = encode(features, verbose=0)
        expected[f"{name}_codes"] = encode(features, packed=False, verbose=0)

    for modality, shape in input_shapes(model).items():
        inputs = probes(shape, _SEED)
        expect(modality, inputs, getattr(model, f"encode_{modality}"), inputs)
    if text is not None:
        texts = text_probes(text, _SEED)
        expect(manifests.RAW_TEXT, np.array(texts), model.encode_text, text(texts))
    with tempfile.TemporaryDirectory() as exchange:
        given, result = Path(exchange, "expected.npz"), Path(exchange, "result.json")
        np.savez(given, **expected)
        run_module(
            "scbch_keras.export.verify",
            [
                *(str(staging), "--formats", *formats, "--expected", str(given)),
                *("--tolerance", repr(tolerance), "--result", str(result)),
            ],
            "verifying the exported files",
        )
        found = json.loads(result.read_text(encoding="utf-8"))
    verification = {"seed": _SEED, "rows": ROWS, "batches": list(BATCHES), "tolerance": tolerance}
    return verification | {"encoders": found["encoders"]}, found["losses"]


def _manifest(
    model: Any,
    staging: Path,
    formats: Sequence[str],
    version: int,
    text: TextPipeline | None,
    quantize: Sequence[str],
) -> dict[str, Any]:
    import keras

    from scbch_keras.export.signatures import input_shapes

    shapes = input_shapes(model)
    signatures = {
        f"encode_{modality}": manifests.signature(modality, shape, model.bits)
        for modality, shape in shapes.items()
    }
    encoders: dict[str, Any] = {modality: {} for modality in shapes}
    for modality in shapes:
        if "saved_model" in formats:
            encoders[modality]["saved_model"] = {
                "path": manifests.SAVED_MODEL,
                "signature": f"encode_{modality}",
            }
        if "onnx" in formats:
            for precision in ("float32", *quantize):
                path = manifests.onnx_path(modality, precision)
                entry = {"path": path, "opset": manifests.ONNX_OPSET}
                encoders[modality][manifests.onnx_form(precision)] = entry
    if text is not None:
        raw: dict[str, Any] = {
            "pipeline": {
                "path": manifests.TEXT_PIPELINE,
                "weighting": text.weighting,
                "words": text.dimensions,
                "normalization": NORMALIZATION,
            }
        }
        if "saved_model" in formats:
            raw["saved_model"] = {
                "path": manifests.SAVED_MODEL,
                "signature": "encode_raw_text",
                "text": "UTF-8; the process that loads it has imported tensorflow_text",
            }
        if "onnx" in formats:
            raw["onnx"] = {
                "path": manifests.RAW_TEXT_ONNX,
                "opset": manifests.RAW_TEXT_OPSET,
                "text": "normalised before, as pipeline.normalization says; at least one",
            }
        encoders[manifests.RAW_TEXT] = raw
        signatures["encode_raw_text"] = manifests.signature("text", [None], model.bits, "string")
    return {
        "schema": manifests.SCHEMA,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bits": model.bits,
        "packing": manifests.packing(model.bits),
        "formats": list(formats),
        "signatures": signatures | {"serving_default": signatures["encode_image"]},
        "encoders": encoders,
        "training_backend": keras.backend.backend(),
        "libraries": _library_versions(),
        "files": manifests.describe_files(staging),
    }


def _library_versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _publish(staging: Path, target: Path) -> None:
    """Rename the finished folder in, then move `latest`; a failure of either leaves neither."""
    latest = target.with_name(LATEST)
    link = files.hidden_sibling(latest)
    try:
        # Made before the version appears, so that after it only one rename can still fail.
        link.symlink_to(target.name, target_is_directory=True)
        if target.exists():
            raise FileExistsError(f"version {target.name} appeared in {target.parent} during this release")
        os.rename(staging, target)
        try:
            os.replace(link, latest)
        except OSError:
            os.rename(target, staging)
            raise
        files.sync(target.parent)
    finally:
        link.unlink(missing_ok=True)
