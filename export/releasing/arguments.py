"""What can be released, and where: the arguments of `release`, refused before any work is done."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.checks import some_of, whole
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.releasing.store import latest_version, versions
from scbch_keras.modalities import MODALITIES
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.text import TextPipeline
from scbch_keras.preprocessing.text_encoder import TextEncoder

_ONNX_LIMIT = 2**31  # a protobuf file cannot be larger, and ONNX is one
_NEEDS = {"saved_model": ("tensorflow",), "onnx": ("tensorflow", "tf2onnx", "onnx", "onnxruntime")}


def checked_formats(
    formats: Sequence[str],
    text: TextPipeline | TextEncoder | None,
    image: ImagePipeline | ImageEncoder | None,
) -> tuple[str, ...]:
    """The formats in their order, if they are known and their packages are there. Raises ValueError, ImportError."""
    formats = some_of("formats", formats, manifests.FORMATS)
    needed = dict.fromkeys(package for name in formats for package in _NEEDS[name])
    for what, encoder in (("text", text), ("image", image)):
        if isinstance(encoder, TextEncoder | ImageEncoder) and "onnx" not in formats:
            raise ValueError(
                f"{what}: an encoder is served by HashEncoder, which needs the format 'onnx'; formats are {formats}"
            )
    if isinstance(text, TextEncoder):
        needed["tokenizers"] = None
    elif text is not None and "saved_model" in formats:
        needed["tensorflow_text"] = None
    if image is not None:
        needed["PIL"] = None
    missing = [package for package in needed if find_spec(package) is None]
    if missing:
        raw = " and ".join(
            name for name, pipeline in (("text", text), ("image", image)) if pipeline is not None
        )
        raise ImportError(
            f"formats {tuple(formats)}{raw and f' with {raw}'} need {', '.join(missing)}: pip install "
            f"'scbch_keras[export,onnx{',pictures' if image is not None else ''}"
            f"{',encoders' if 'tokenizers' in missing else ''}]' (or onnx-gpu instead of onnx)"
        )
    return formats


def checked_precisions(quantize: Sequence[str], formats: Sequence[str]) -> tuple[str, ...]:
    """The precisions besides float32, in their order. Raises ValueError, ImportError."""
    quantize = some_of("quantize", quantize, manifests.PRECISIONS[1:], least=0)
    if quantize and "onnx" not in formats:
        raise ValueError(f"quantize makes ONNX files; formats are {tuple(formats)}")
    if quantize and find_spec("onnx_ir") is None:
        raise ImportError("quantize needs onnx_ir: pip install 'scbch_keras[export]'")
    return quantize


def check_model(model: Any, formats: Sequence[str]) -> None:
    """Refuse what is no built model, or one too large for a format. Raises TypeError, ValueError."""
    from scbch_keras.hashing import CrossModalHashing

    if not isinstance(model, CrossModalHashing):
        raise TypeError(f"model must be an SCBCH or another CrossModalHashing, got {type(model).__name__}")
    branches = {modality: getattr(model, f"{modality}_branch") for modality in MODALITIES}
    if set(model.get_build_config()["input_shape"]) != set(branches):
        raise ValueError("model is not built, so there is nothing to export: call fit or build first")
    if "onnx" in formats:
        for modality, branch in branches.items():
            _check_fits_onnx(f"the {modality} branch", branch)


def check_text(model: Any, text: TextPipeline | TextEncoder | None) -> None:
    """Refuse a pipeline that does not make the features of the model. Raises TypeError, ValueError."""
    if text is not None:
        expects = "gives {} features" if isinstance(text, TextEncoder) else "has {} words"
        _check_pipeline(model, "text", text, (TextPipeline, TextEncoder), expects)


def check_image(model: Any, image: ImagePipeline | ImageEncoder | None, formats: Sequence[str]) -> None:
    """Refuse a pipeline that does not make the features of the model. Raises TypeError, ValueError."""
    if image is None:
        return
    _check_pipeline(model, "image", image, (ImagePipeline, ImageEncoder), "gives {} features")
    if "onnx" in formats and isinstance(image, ImagePipeline) and image.backbone is not None:
        _check_fits_onnx("the image branch with the backbone of image", model.image_branch, image.backbone)


def check_label_names(model: Any, names: Any) -> None:
    """Refuse what are no names, each once, for the model's labels. Raises ValueError."""
    if names is None:
        return
    if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"label_names must be a list of names, got {names!r}")
    if len(names) != model.num_classes or len(set(names)) != len(names):
        raise ValueError(
            f"label_names must be {model.num_classes} names, each once, one for each label of the model; "
            f"got {len(names)}, {len(set(names))} of them different"
        )


def free_version(folder: Path, version: int | None) -> int:
    """The version to write, after seeing that it can be written."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"folder {folder} is a file")
    latest_version(folder)  # refuses what is no link
    if version is None:
        return max(versions(folder), default=0) + 1
    version = whole("version", version, 1)
    if (folder / str(version)).exists():
        raise FileExistsError(f"version {version} exists already in {folder}; versions are never overwritten")
    return version


def _check_pipeline(
    model: Any, modality: str, pipeline: Any, kinds: tuple[type[Any], type[Any]], expects: str
) -> None:
    if not isinstance(pipeline, kinds):
        article, maker = ("an" if modality == "image" else "a"), f"{modality.capitalize()}Features"
        raise TypeError(
            f"{modality} must be {article} {kinds[0].__name__} ({maker}.pipeline() gives one) or "
            f"{article} {kinds[1].__name__} ({kinds[1].__name__}.open does), got {type(pipeline).__name__}"
        )
    expected = model.get_build_config()["input_shape"][modality]
    if isinstance(expected, Mapping):
        raise ValueError(
            f"{modality} must be None: the {modality} branch takes the inputs {', '.join(expected)}, and the "
            "pipeline makes one array"
        )
    shape = tuple(expected[1:])
    if shape != (pipeline.dimensions,):
        raise ValueError(
            f"{modality} {expects.format(pipeline.dimensions)}; the {modality} branch takes features of shape {shape}. "
            "Give the pipeline that made the features of the training"
        )


def _check_fits_onnx(what: str, *layers: Any) -> None:
    size = 4 * sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.weights)
    if size >= _ONNX_LIMIT:
        raise ValueError(
            f"{what} has {size / 2**30:.2f} GiB of weights; an ONNX file holds less than 2 GiB. "
            "Use formats=('saved_model',)"
        )
