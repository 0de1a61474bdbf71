"""A saved model -> the files that serve it. TensorFlow backend only; also a program of its own."""

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from scbch_keras.export.format.layouts import saved_model_path
from scbch_keras.export.format.manifest import (
    IMAGE_PIPELINE,
    MODEL,
    RAW_IMAGE_ONNX,
    RAW_TEXT_ONNX,
    TEXT_PIPELINE,
    example_shapes,
)
from scbch_keras.export.graphs.inputs import described_inputs, encoder_inputs
from scbch_keras.export.graphs.probes import input_probes, picture_probes, serialized_examples, text_probes
from scbch_keras.modalities import MODALITIES
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.keras_file import load_in_float32
from scbch_keras.preprocessing.text import TextPipeline

_WARMUP_BATCHES = (1, 32)


def build(folder: Path, formats: Sequence[str], name: str, version: int) -> None:
    """Write the wanted formats into `folder`, from the `model.keras` that lies there.

    With the raw text and picture front ends, where their pipelines lie there too.
    """
    model = load_in_float32(folder / MODEL)
    stored = folder / TEXT_PIPELINE
    pipeline = TextPipeline.load(stored) if stored.exists() else None
    image = ImagePipeline.load(folder) if (folder / IMAGE_PIPELINE).exists() else None
    if "saved_model" in formats:
        from scbch_keras.export.graphs.saved_model import write_saved_model
        from scbch_keras.export.graphs.warmup import write_warmup

        saved_model = folder / saved_model_path(name, version)
        write_saved_model(model, saved_model, pipeline, image)
        write_warmup(saved_model, name, _warmup_requests(model, pipeline, image))
    if "onnx" in formats:
        from scbch_keras.export.graphs.onnx import write_onnx, write_raw_image_onnx

        for modality in MODALITIES:
            write_onnx(model, modality, folder / f"{modality}.onnx")
        if pipeline is not None:
            from scbch_keras.export.graphs.text_onnx import write_raw_text_onnx

            write_raw_text_onnx(pipeline, folder / "text.onnx", folder / RAW_TEXT_ONNX)
        if image is not None:
            write_raw_image_onnx(model, image, folder / RAW_IMAGE_ONNX)


def _warmup_requests(
    model: Any, pipeline: TextPipeline | None, image: ImagePipeline | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    described = encoder_inputs(model)
    examples = example_shapes(described_inputs(model))
    for size in _WARMUP_BATCHES:
        requests = {modality: input_probes(inputs, size) for modality, inputs in described.items()}
        for modality, inputs in requests.items():
            yield f"encode_{modality}", inputs
        fixed = {modality: requests[modality][modality] for modality in examples}
        yield (
            "serving_default",
            {"examples": serialized_examples(fixed, size)} if fixed else requests["image"],
        )
        if pipeline is not None:
            yield "encode_raw_text", {"text": text_probes(pipeline, size)}
        if image is not None:
            yield "encode_image_bytes", {"image_bytes": picture_probes(size)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--formats", nargs="+", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--modules", nargs="*", default=[], help="imported first: they register layers")
    arguments = parser.parse_args()
    for module in arguments.modules:
        import_module(module)
    build(arguments.folder, arguments.formats, arguments.name, arguments.version)
