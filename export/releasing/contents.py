"""What the manifest of a release says of the model, before its files are written."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from scbch_keras.export.format import layouts
from scbch_keras.export.format import manifest as manifests
from scbch_keras.preprocessing import image_encoder, text_encoder
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.normalization import description
from scbch_keras.preprocessing.pictures import PREPARATION
from scbch_keras.preprocessing.text import TextPipeline
from scbch_keras.preprocessing.text_encoder import TextEncoder

_LIBRARIES = (
    "scbch_keras keras numpy pillow tensorflow tensorflow-text jax torch "  # noqa: SIM905
    "tf2onnx onnx onnxruntime onnxruntime-gpu".split()
)


def manifest_of(
    model: Any,
    name: str,
    version: int,
    formats: Sequence[str],
    text: TextPipeline | TextEncoder | None,
    image: ImagePipeline | ImageEncoder | None,
    quantize: Sequence[str],
    label_names: Sequence[str] | None,
    training: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The manifest of a release without its files and what was measured."""
    import keras

    from scbch_keras.export.graphs.inputs import described_inputs

    inputs = described_inputs(model)
    signatures = {
        f"encode_{modality}": manifests.inputs_signature(described, model.bits)
        for modality, described in inputs.items()
    }
    saved_model = layouts.saved_model_path(name, version)
    encoders: dict[str, Any] = {}
    for modality in inputs:
        encoders[modality] = {"saved_model": {"path": saved_model}}
        for precision in ("float32", *quantize):
            entry = {"path": manifests.onnx_path(modality, precision), "opset": manifests.ONNX_OPSET}
            encoders[modality][manifests.onnx_form(precision)] = entry
        for entry in encoders[modality].values():
            entry["signature"] = f"encode_{modality}"
    if isinstance(text, TextEncoder):
        encoders[manifests.TEXT_ENCODER] = {"pipeline": _encoder(text, text_encoder)}
        encoders[manifests.TEXT_ENCODER]["pipeline"]["tokenizer"] = text_encoder.TOKENIZER_FILE
    elif text is not None:
        encoders[manifests.RAW_TEXT] = _raw_text(text, saved_model)
        signatures["encode_raw_text"] = manifests.signature("text", [None], model.bits, "string")
    if isinstance(image, ImageEncoder):
        encoders[manifests.IMAGE_ENCODER] = {"pipeline": _encoder(image, image_encoder)}
        encoders[manifests.IMAGE_ENCODER]["pipeline"]["preparation"] = PREPARATION
    elif image is not None:
        encoders[manifests.RAW_IMAGE] = _raw_image(image, saved_model)
        signatures["encode_image_bytes"] = manifests.signature("image_bytes", [None], model.bits, "string")
        pictures: list[int | None] = [None, None, None, 3]
        signatures["encode_pictures"] = manifests.signature("pictures", pictures, model.bits, "uint8")
    for encoder in encoders.values():
        for absent in set(manifests.FORMATS) - set(formats):
            encoder.pop(absent, None)
    if "saved_model" in formats:
        rows = manifests.example_shapes(inputs)
        signatures["serving_default"] = (
            manifests.examples_signature(rows, model.bits) if rows else signatures["encode_image"]
        )
    described = {
        "schema": manifests.SCHEMA,
        "name": name,
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "method": type(model).__name__,
        "bits": model.bits,
        "packing": manifests.packing(model.bits),
        "formats": list(formats),
        "signatures": signatures,
        "encoders": encoders,
        "label_names": None if label_names is None else list(label_names),
        "training_backend": keras.backend.backend(),
        "training": _plain_settings(model) if training is None else dict(training),
        "libraries": _library_versions(),
    }
    return {**described, "layouts": layouts.server_layouts(described)}


def _encoder(encoder: TextEncoder | ImageEncoder, module: Any) -> dict[str, Any]:
    """Where an ONNX encoder lies, and how it is used."""
    used = {key: value for key, value in encoder.settings.items() if key not in ("inputs", "outputs")}
    return {"path": module.ENCODER_FILE, "onnx": module.ONNX_FILE, **used}


def _raw_text(text: TextPipeline, saved_model: str) -> dict[str, Any]:
    return {
        "pipeline": {
            "path": manifests.TEXT_PIPELINE,
            "weighting": text.weighting,
            "words": text.dimensions,
            "normalization": description(text.normalization),
        },
        "saved_model": {
            "path": saved_model,
            "signature": "encode_raw_text",
            "input": "UTF-8; the process that loads it has imported tensorflow_text",
        },
        "onnx": {
            "path": manifests.RAW_TEXT_ONNX,
            "opset": manifests.RAW_TEXT_OPSET,
            "signature": "encode_raw_text",
            "input": "normalised before by the client, as pipeline.normalization says (TextPipeline.normalize in "
            f"Python, TextPipeline of {manifests.JAVASCRIPT} in JavaScript): raw strings give wrong codes without an "
            "error; at least one",
        },
    }


def _raw_image(image: ImagePipeline, saved_model: str) -> dict[str, Any]:
    return {
        "pipeline": {
            "path": manifests.IMAGE_PIPELINE,
            "backbone": None if image.backbone is None else manifests.IMAGE_BACKBONE,
            "size": list(image.size),
            "preparation": PREPARATION,
        },
        "saved_model": {
            "path": saved_model,
            "signature": "encode_image_bytes",
            "input": "JPEG or PNG files",
        },
        "onnx": {
            "path": manifests.RAW_IMAGE_ONNX,
            "opset": manifests.ONNX_OPSET,
            "signature": "encode_pictures",
            "input": "RGB, turned upright, no transparency; resized within; at least one",
        },
    }


def _plain_settings(model: Any) -> dict[str, Any]:
    """The numbers, switches and words among a model's settings."""
    settings = model.get_config().items()
    return {"settings": {key: value for key, value in settings if _is_plain(value)}}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def check_training(training: Any) -> None:
    """Refuse what JSON would not keep as it is. Raises ValueError."""
    try:
        kept = json.loads(json.dumps(training, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"training must be what JSON can hold: {error}") from error
    if not isinstance(training, dict) or kept != training:
        raise ValueError(
            f"training must be a dict of what JSON keeps as it is (lists, text keys), got {training!r}"
        )


def _library_versions() -> dict[str, str]:
    installed = {}
    for name in _LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
