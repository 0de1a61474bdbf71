"""A trained model -> a release: a verified folder that appears at once or not at all."""

import json
import os
import shutil
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scbch_keras import files
from scbch_keras.child import run_module
from scbch_keras.export.format import layouts
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.format.encoder_inputs import inputs_shape
from scbch_keras.export.graphs.probes import SEED
from scbch_keras.export.releasing import arguments, store
from scbch_keras.export.releasing.card import model_card
from scbch_keras.export.releasing.contents import check_training, manifest_of
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.export.validation.validate import (
    Criteria,
    Validation,
    check_tolerance,
    described_evaluation,
    examine,
    judge,
    mark,
    record,
)
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.text import TextPipeline
from scbch_keras.preprocessing.text_encoder import TextEncoder


@dataclass(frozen=True)
class Release:
    """A released version.

    path: its folder, `<folder>/<version>`.
    version: its number.
    manifest: what its manifest.json says.
    validation: how its validation ended; `latest` points at it if and only if that blessed it.
    """

    path: Path
    version: int
    manifest: Mapping[str, Any]
    validation: Validation


def release(
    model: Any,
    folder: str | os.PathLike[str],
    formats: Sequence[str] = ("saved_model", "onnx"),
    version: int | None = None,
    *,
    name: str | None = None,
    text: TextPipeline | TextEncoder | None = None,
    image: ImagePipeline | ImageEncoder | None = None,
    quantize: Sequence[str] = (),
    label_names: Sequence[str] | None = None,
    training: Mapping[str, Any] | None = None,
    evaluation: Evaluation | None = None,
    min_map: float | None = None,
    max_map_loss: float | None = 0.0,
    tolerance: float = 1e-5,
    progress: Callable[[str], object] = lambda step: None,
) -> Release:
    """Export, verify and publish a trained model as `<folder>/<version>`, and point `<folder>/latest` at it.

    The encoders are rebuilt on TensorFlow from the saved model, whatever backend trained it, and written as a
    SavedModel (signatures encode_image, encode_text, and serving_default, which takes tf.Example) and as image.onnx
    and text.onnx, laid out for TensorFlow Serving, KServe and Triton, beside model.keras, which goes on training
    under any backend. Then a fresh process opens them without Keras and compares their codes, on seeded inputs, with
    those that `model` computes here. On any error nothing is left behind.

    With an evaluation it also measures how well they find. A version that does so too badly is kept, NOT_BLESSED;
    `latest` does not move, and a UserWarning says why.

    Args:
        model: a built `SCBCH`, or another `CrossModalHashing`.
        folder: where the versions of this model lie; made if it is missing.
        formats: from "saved_model" and "onnx", at least one. `HashEncoder` needs "onnx".
        version: int >= 1 that is not taken; None for the next after the highest.
        name: by which servers know the model: A-Z, a-z, 0-9, - and _. None for the folder's name.
        text: how the text features were made from strings (`TextFeatures.pipeline`); the release then takes
            strings as well: text_pipeline.json, which lets `HashEncoder.text` do so, the SavedModel signature
            encode_raw_text, text_raw.onnx for strings that were normalised before, scbch.js, which does that in
            JavaScript, and triton_strings/, which does it on Triton. Or a `TextEncoder`: the release holds its
            ONNX file and its tokenizer, for `HashEncoder.text`, which then needs the package tokenizers.
        image: how the image features were made from pictures (`ImageFeatures.pipeline`); the release then takes
            pictures as well: in `HashEncoder.image`, the SavedModel signature encode_image_bytes (JPEG and PNG
            files), and image_raw.onnx (pixels of any size). Its backbone is stored in image_backbone.keras. Or an
            `ImageEncoder`: the release holds its ONNX file, for `HashEncoder.image`.
        quantize: from "int8" and "fp16": also write image.int8.onnx and so on, which take a quarter and half of the
            space, for `HashEncoder(..., precision="int8")`; needs the format "onnx". The manifest says what share
            of the bits they change, and with an evaluation what mAP they lose; if that is too much the release is
            not blessed.
        label_names: of the model's labels, in their order.
        training: what is to be kept of the training (configuration, checksums of the data, metrics), as JSON has it;
            None: the model's own settings.
        evaluation: queries and a database with true labels.
        min_map: least mean of both directions' mAP on the evaluation, in [0, 1].
        max_map_loss: by how much that mean may lie below that of the release at which `latest` points; None: they
            are not compared.
        tolerance: by how much an exported code in [-1, 1] may differ from the model's. A bit may differ only
            where the model's code is that close to zero; the manifest says how many do. A release
            computes in float32: a model that computes in half precision, or in TF32 on a GPU, rounds its own
            codes more coarsely and needs more than the default.
        progress: called with the name of each step as it begins.

    Returns:
        The release that was published, and what was measured of it.

    Raises:
        ValueError: the model is not built, or an argument is wrong.
        TypeError: `model` is not a CrossModalHashing, `text` no TextPipeline or TextEncoder, `image` no ImagePipeline
            or ImageEncoder, or `evaluation` no Evaluation.
        FileExistsError: the version exists, or `latest` is not a symbolic link.
        ImportError: a package that a format needs is missing.
        RuntimeError: building or verifying failed, with the last lines of the process that did it.
    """
    from scbch_keras.export.graphs.inputs import described_inputs

    formats = arguments.checked_formats(formats, text, image)
    quantize = arguments.checked_precisions(quantize, formats)
    arguments.check_model(model, formats)
    arguments.check_text(model, text)
    arguments.check_image(model, image, formats)
    arguments.check_label_names(model, label_names)
    if training is not None:
        check_training(training)
    criteria = Criteria(evaluation, min_map, None, max_map_loss)
    inputs = described_inputs(model)
    criteria.check_shapes(
        {modality: inputs_shape(modality, described) for modality, described in inputs.items()}
    )
    check_tolerance(tolerance)
    folder = Path(folder)
    name = layouts.check_name(folder.resolve().name if name is None else name)
    version = arguments.free_version(folder, version)
    target = folder / str(version)
    with store.at_work(folder):
        staging = files.hidden_sibling(target)
        try:
            staging.mkdir()
            progress("Saving the model")
            model.save(staging / manifests.MODEL)
            if text is not None:
                text.save(staging if isinstance(text, TextEncoder) else staging / manifests.TEXT_PIPELINE)
            if image is not None:
                image.save(staging)
            progress("Writing the encoders with TensorFlow")
            _build(staging, formats, name, version)
            if quantize:
                progress("Quantizing")
                run_module(
                    "scbch_keras.export.graphs.quantize",
                    [str(staging), "--precisions", *quantize],
                    "quantizing the ONNX files",
                )
            manifest = manifest_of(
                model, name, version, formats, text, image, quantize, label_names, training
            )
            layouts.write_onnx_clients(staging, manifest)
            manifest["files"] = manifests.describe_files(staging)
            manifests.write(staging, manifest)
            progress("Comparing codes in a fresh process")
            answer = _verified(model, staging, criteria, tolerance, text, image)
            validation = judge(staging, (), answer, criteria)
            for form, lost in answer["losses"].items():
                for modality, loss in lost.items():
                    manifest["encoders"][modality][form] |= loss
            manifest |= {
                "evaluation": described_evaluation(criteria, answer),
                "verification": {"seed": SEED, "tolerance": tolerance, "encoders": answer["encoders"]},
            }
            manifest["validation"] = record(validation, criteria, {**answer, "encoders": {}})
            progress("Publishing")
            manifest = _finish(target, manifest, validation)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    validation = replace(validation, path=target)
    if not validation.blessed:
        warnings.warn(
            f"version {version} in {folder} is not blessed, and `latest` does not point at it: "
            + "; ".join(validation.quality),
            stacklevel=2,
        )
    return Release(target, version, manifest, validation)


def _finish(target: Path, manifest: dict[str, Any], validation: Validation) -> dict[str, Any]:
    """Write the card, the manifest and the marks of a release that lies in `validation.path`, and rename it in."""
    staging = validation.path
    (staging / manifests.CARD).write_text(model_card(manifest), encoding="utf-8")
    manifest["files"][manifests.CARD] = manifests.describe_file(staging / manifests.CARD)
    manifest = manifests.write(staging, manifest)
    mark(validation)
    files.sync_tree(staging)
    store.publish(staging, target, as_latest=validation.blessed)
    return manifest


def _build(staging: Path, formats: Sequence[str], name: str, version: int) -> None:
    import keras

    if keras.backend.backend() == "tensorflow":
        from scbch_keras.export.graphs.build import build

        try:
            build(staging, formats, name, version)
        except Exception as error:
            raise RuntimeError(f"exporting the model with TensorFlow failed: {error}") from error
        return
    modules = sorted({name for path in staging.glob("*.keras") for name in _registering_modules(path)})
    run_module(
        "scbch_keras.export.graphs.build",
        [
            *(str(staging), "--formats", *formats, "--name", name, "--version", str(version)),
            *("--modules", *modules),
        ],
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


def _verified(
    model: Any,
    staging: Path,
    criteria: Criteria,
    tolerance: float,
    text: TextPipeline | TextEncoder | None,
    image: ImagePipeline | ImageEncoder | None,
) -> dict[str, Any]:
    """The results of a fresh process that compares the files' codes with those that `model` computes here."""
    from scbch_keras.export.graphs.inputs import encoder_inputs
    from scbch_keras.export.validation.verify import expected_codes

    expected = expected_codes(model, encoder_inputs(model), text, image)
    answer = examine(staging, criteria, tolerance, expected=expected)
    if answer["wrong"]:
        raise RuntimeError("verifying the exported files failed: " + "\n".join(answer["wrong"]))
    return answer
