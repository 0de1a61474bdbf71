"""A saved model -> the files that serve it. TensorFlow backend only; also a program of its own."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import keras

import scbch_keras.model  # noqa: F401  (registers SCBCH for loading)
from scbch_keras.export.manifest import MODALITIES

MODEL = "model.keras"
SAVED_MODEL = "saved_model"


def build(folder: Path, formats: Sequence[str]) -> None:
    """Write the wanted formats into `folder`, from the `model.keras` that lies there."""
    model = keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True)
    if "saved_model" in formats:
        from scbch_keras.export.saved_model import write_saved_model

        write_saved_model(model, folder / SAVED_MODEL)
    if "onnx" in formats:
        from scbch_keras.export.onnx import write_onnx

        for modality in MODALITIES:
            write_onnx(model, modality, folder / f"{modality}.onnx")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--formats", nargs="+", required=True)
    parser.add_argument("--modules", nargs="*", default=[], help="imported first: they register layers")
    arguments = parser.parse_args()
    for module in arguments.modules:
        import_module(module)
    build(arguments.folder, arguments.formats)
