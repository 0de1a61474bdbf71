"""Exported files against the codes of the model they come from. A program of its own; never imports keras."""

import argparse
import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.codes import unpack_codes
from scbch_keras.export import manifest as manifests
from scbch_keras.export.precision import losses
from scbch_keras.export.text import TextPipeline

BATCHES = (1, 7, 64)
ROWS = sum(BATCHES)
_FREE_SIZE = 64

Encode = Callable[[NDArray[Any]], tuple[NDArray[np.uint8], NDArray[np.float32]]]


def probes(shape: Sequence[int | None], seed: int) -> NDArray[np.float32]:
    """Inputs (ROWS, ...) to compare encoders on: normal, and a row of zeros in each larger batch."""
    sizes = [_FREE_SIZE if size is None else size for size in shape[1:]]
    inputs = np.random.default_rng(seed).standard_normal((ROWS, *sizes), np.float32)
    inputs[[BATCHES[0], ROWS - 1]] = 0
    return inputs


def text_probes(pipeline: TextPipeline, seed: int) -> list[str]:
    """Texts (ROWS) to compare encoders on: words of the vocabulary among unknown ones, in other cases and normal
    forms, parted by all sorts of white space; an empty one in each larger batch.
    """
    rng = np.random.default_rng(seed)
    forms = (str.upper, str.title, lambda word: unicodedata.normalize("NFD", word), str)
    between = (" ", "\t", "\u00a0", "\u3000\n", "\u2028")
    texts = []
    for _ in range(ROWS):
        chosen = [pipeline.vocabulary[column] for column in rng.integers(pipeline.dimensions, size=12)]
        parts = [
            forms[rng.integers(len(forms))](word) for word in [*chosen, "\u1e9e\u0323\U0001fae8", "\u0378"]
        ]
        texts.append("".join(part + between[rng.integers(len(between))] for part in parts))
    texts[BATCHES[0]] = texts[ROWS - 1] = ""
    return texts


def compare(
    what: str,
    encode: Encode,
    inputs: NDArray[Any],
    expected_packed: NDArray[np.uint8],
    expected_codes: NDArray[np.float32],
    tolerance: float,
) -> dict[str, Any]:
    """Run `encode` in batches of BATCHES and hold it to the expected codes; what was found, as numbers.

    Codes may differ by `tolerance`, and so a bit may differ where the expected code lies that close to zero.

    Raises:
        ValueError: a larger difference, or a result of another shape or type.
    """
    bits = expected_codes.shape[1]
    packed, codes = np.empty_like(expected_packed), np.empty_like(expected_codes)
    start = 0
    for size in BATCHES:
        rows = slice(start, start + size)
        came_packed, came_codes = encode(inputs[rows])
        for came, place in ((came_packed, packed[rows]), (came_codes, codes[rows])):
            if came.shape != place.shape or came.dtype != place.dtype:
                raise ValueError(
                    f"{what} gives {came.dtype} {came.shape} for {size} rows, not {place.dtype} {place.shape}"
                )
            place[:] = came
        start += size
    difference = float(np.abs(codes - expected_codes).max())
    if not difference <= tolerance:
        raise ValueError(
            f"{what} differs from the model: codes by up to {difference:.3g}, more than the tolerance of "
            f"{tolerance:.3g}. If the model computes in half precision, or in TF32 on a GPU, that is its own "
            "rounding: switch it off, or pass a larger tolerance"
        )
    near_zero = np.abs(expected_codes) <= tolerance
    different = unpack_codes(packed, bits) != unpack_codes(expected_packed, bits)
    if (different & ~near_zero).any():
        row, bit = np.argwhere(different & ~near_zero)[0]
        raise ValueError(
            f"{what} packs other bits than the model: bit {bit} of row {row}, where the code is "
            f"{expected_codes[row, bit]:.3g}"
        )
    return {
        "bits_compared": different.size,
        "bits_near_zero": int(near_zero.sum()),
        "bits_different": int(different.sum()),
        "largest_code_difference": difference,
    }


def verify(folder: Path, formats: Sequence[str], expected: Any, tolerance: float) -> dict[str, Any]:
    """Hold every exported encoder in `folder` to what the model gave.

    expected: for each modality m the arrays "m", "m_packed" and "m_codes", and the same for strings, "raw_text",
    where the release takes them.
    """
    encoders: dict[str, tuple[str, Encode]] = {}
    takes_strings = manifests.RAW_TEXT in expected
    if "saved_model" in formats:
        encoders |= _saved_model_encoders(folder / manifests.SAVED_MODEL, takes_strings)
    if "onnx" in formats:
        encoders |= _onnx_encoders(folder, takes_strings)
    return {
        what: compare(
            what,
            encode,
            expected[modality],
            expected[f"{modality}_packed"],
            expected[f"{modality}_codes"],
            tolerance,
        )
        for what, (modality, encode) in encoders.items()
    }


def _saved_model_encoders(folder: Path, takes_strings: bool) -> dict[str, tuple[str, Encode]]:
    import tensorflow as tf

    if takes_strings:
        import tensorflow_text  # noqa: F401  (registers the operations that the graph has)

    loaded = tf.saved_model.load(str(folder))

    def encoder(name: str, modality: str) -> Encode:
        argument = "text" if modality == manifests.RAW_TEXT else modality

        def encode(inputs: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            outputs = loaded.signatures[name](**{argument: tf.constant(inputs)})
            return outputs["packed_codes"].numpy(), outputs["codes"].numpy()

        return encode

    signatures = {"encode_image": "image", "encode_text": "text", "serving_default": "image"}
    if takes_strings:
        signatures["encode_raw_text"] = manifests.RAW_TEXT
    return {
        f"saved_model {name}": (modality, encoder(name, modality)) for name, modality in signatures.items()
    }


def _onnx_encoders(folder: Path, takes_strings: bool) -> dict[str, tuple[str, Encode]]:
    from scbch_keras.export.encoder import HashEncoder

    opened = HashEncoder(folder)

    def encoder(modality: str) -> Encode:
        run = getattr(opened, modality)
        return lambda inputs: (run(inputs), run(inputs, packed=False))

    encoders = {f"onnx {modality}": (modality, encoder(modality)) for modality in manifests.MODALITIES}
    if takes_strings:
        encoders["HashEncoder of strings"] = (manifests.RAW_TEXT, encoder("text"))
        encoders["onnx text_raw"] = (manifests.RAW_TEXT, _raw_text_onnx(folder))
    return encoders


def _raw_text_onnx(folder: Path) -> Encode:
    import onnxruntime

    pipeline = TextPipeline.load(folder / manifests.TEXT_PIPELINE)
    session = onnxruntime.InferenceSession(
        folder / manifests.RAW_TEXT_ONNX, providers=["CPUExecutionProvider"]
    )

    def encode(inputs: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        packed, codes = session.run(["packed_codes", "codes"], {"text": pipeline.normalize(inputs.tolist())})
        return packed, codes

    return encode


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--formats", nargs="+", required=True)
    parser.add_argument("--expected", type=Path, required=True, help="inputs and the model's codes, .npz")
    parser.add_argument("--tolerance", type=float, required=True)
    parser.add_argument("--result", type=Path, required=True, help="what was found, JSON")
    arguments = parser.parse_args()
    with np.load(arguments.expected, allow_pickle=False) as file:
        expected = dict(file)
    found = {
        "encoders": verify(arguments.folder, arguments.formats, expected, arguments.tolerance),
        "losses": losses(
            arguments.folder,
            manifests.read(arguments.folder),
            {modality: expected[modality] for modality in manifests.MODALITIES},
            None,
        ),
    }
    arguments.result.write_text(json.dumps(found), encoding="utf-8")
