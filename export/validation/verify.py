"""Exported files against the codes of the model they come from, and their mAP. A program of its own.

It imports keras only where no codes are given and it has to ask model.keras itself.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.codes import pack_codes, unpack_codes
from scbch_keras.export.format import manifest as manifests
from scbch_keras.export.format.encoder_inputs import Input
from scbch_keras.export.format.pipelines import opened_pipeline
from scbch_keras.export.graphs.probes import (
    BATCHES,
    input_probes,
    picture_probes,
    presence,
    rows_for,
    sentence_probes,
    serialized_examples,
    text_probes,
)
from scbch_keras.export.validation.endpoints import Encode, Served
from scbch_keras.export.validation.evaluation import Evaluation
from scbch_keras.export.validation.quantization_loss import losses_on_evaluation, losses_on_probes
from scbch_keras.export.validation.scores import scored
from scbch_keras.features import Features, first_array, grouped, take
from scbch_keras.modalities import MODALITIES
from scbch_keras.preprocessing.image import ImagePipeline
from scbch_keras.preprocessing.image_encoder import ImageEncoder
from scbch_keras.preprocessing.text import TextPipeline
from scbch_keras.preprocessing.text_encoder import TextEncoder


def expected_codes(
    model: Any,
    inputs: Mapping[str, Mapping[str, Input]],
    pipeline: TextPipeline | TextEncoder | None,
    image: ImagePipeline | ImageEncoder | None,
) -> dict[str, Features]:
    """Inputs of every encoder and the codes that `model` gives: "m" and "m_codes", "raw_text" of strings, and
    "raw_image" of the bytes of picture files; of ONNX encoders "text_encoder" and "image_encoder".
    """
    from scbch_keras.export.graphs.inputs import is_named

    expected: dict[str, Features] = {}
    for modality, described in inputs.items():
        probes = input_probes(described, rows_for(described))
        features: Features = probes if is_named(model, modality) else probes[modality]
        expected[modality] = features
        expected[f"{modality}_codes"] = getattr(model, f"encode_{modality}")(
            features, packed=False, verbose=0
        )
    if pipeline is not None:
        entry, texts = (
            (manifests.TEXT_ENCODER, sentence_probes())
            if isinstance(pipeline, TextEncoder)
            else (manifests.RAW_TEXT, text_probes(pipeline))
        )
        expected[entry] = np.array(texts)
        expected[f"{entry}_codes"] = model.encode_text(pipeline(texts), packed=False, verbose=0)
    if image is not None:
        entry = manifests.IMAGE_ENCODER if isinstance(image, ImageEncoder) else manifests.RAW_IMAGE
        pictures = picture_probes()
        expected[entry] = np.array(pictures)
        expected[f"{entry}_codes"] = model.encode_image(image(pictures), packed=False, verbose=0)
    return expected


def compare(
    what: str,
    encode: Encode,
    inputs: Features,
    expected: NDArray[np.float32],
    tolerance: float,
    may_refuse_none: bool = False,
) -> dict[str, Any]:
    """Run `encode` in batches of 0, BATCHES and all other rows, and compare its codes with the expected ones.

    Codes may differ by `tolerance`, and so a bit may differ where the expected code lies that close to zero.

    Args:
        what: names it in errors.
        encode: of inputs (m, ...).
        inputs: (n, ...), n > 8, or a dict of such arrays.
        expected: (n, bits).
        tolerance: >= 0.
        may_refuse_none: whether a call with no rows may fail, which is then told.

    Raises:
        ValueError: a larger difference, or a result of another shape or type.
    """
    bits = expected.shape[1]
    expected_packed = pack_codes(expected)
    packed, codes = np.empty_like(expected_packed), np.empty_like(expected)
    start, batches = 0, []
    for size in (0, *BATCHES, len(first_array(inputs)) - sum(BATCHES)):
        rows = slice(start, start + size)
        try:
            actual_packed, actual_codes = encode(take(inputs, rows))
        except Exception:
            if size or not may_refuse_none:
                raise
            continue
        for actual, place in ((actual_packed, packed[rows]), (actual_codes, codes[rows])):
            if actual.shape != place.shape or actual.dtype != place.dtype:
                raise ValueError(
                    f"{what} gives {actual.dtype} {actual.shape} for {size} rows, not {place.dtype} {place.shape}"
                )
            place[:] = actual
        start += size
        batches.append(size)
    difference = float(np.abs(codes - expected).max())
    if not difference <= tolerance:
        raise ValueError(
            f"{what} differs from the model: codes by up to {difference:.3g}, more than the tolerance of "
            f"{tolerance:.3g}. If the model computes in half precision, or in TF32 on a GPU, that is its own "
            "rounding: switch it off, or pass a larger tolerance"
        )
    near_zero = np.abs(expected) <= tolerance
    different = unpack_codes(packed, bits) != unpack_codes(expected_packed, bits)
    if (different & ~near_zero).any():
        row, bit = np.argwhere(different & ~near_zero)[0]
        raise ValueError(
            f"{what} packs other bits than the model: bit {bit} of row {row}, where the code is "
            f"{expected[row, bit]:.3g}"
        )
    return {
        "batches": batches,
        "bits_compared": different.size,
        "bits_near_zero": int(near_zero.sum()),
        "bits_different": int(different.sum()),
        "largest_code_difference": difference,
    }


def verify(served: Served, expected: Mapping[str, Any], tolerance: float) -> tuple[dict[str, Any], list[str]]:
    """Compare every encoder of a release with `expected`: the results of each, and what is wrong.

    Quantized ones must run and give codes, whatever these are.
    """
    manifest = served.manifest
    results: dict[str, Any] = {}
    wrong: list[str] = []

    def check(what: str, encoder: str, encode: Any, may_refuse_none: bool, is_quantized: bool) -> None:
        codes, allowed = expected[f"{encoder}_codes"], math.inf if is_quantized else tolerance
        results[what] = compare(what, encode(), expected[encoder], codes, allowed, may_refuse_none)
        if is_quantized:
            del results[what]["bits_near_zero"]  # of no tolerance

    for point in served.endpoints():
        with _collected(wrong, point.what):
            is_quantized = point.form in manifests.QUANTIZED
            check(point.what, point.encoder, point.open, point.form != "saved_model", is_quantized)
    for precision in manifests.PRECISIONS:
        if manifests.onnx_form(precision) in served.forms():
            with _collected(wrong, "HashEncoder"):
                for what, encoder, encode in _hash_encoder(served, precision):
                    check(what, encoder, lambda encode=encode: encode, False, precision != "float32")
    if "features" in manifest["signatures"].get("serving_default", ()):
        with _collected(wrong, "saved_model serving_default"):
            results |= _check_examples(served, expected, tolerance)
    return results, wrong


@contextmanager
def _collected(wrong: list[str], what: str) -> Iterator[None]:
    """Turn any failure of the block into a sentence in the list `wrong`: a model that does not run is a result here."""
    try:
        yield
    except Exception as error:
        message = str(error) or type(error).__name__
        wrong.append(message if message.startswith(what) else f"{what}: {message}")


def _hash_encoder(served: Served, precision: str) -> Iterator[tuple[str, str, Encode]]:
    from scbch_keras.export.serving.encoder import HashEncoder

    opened = HashEncoder(served.folder, precision=precision)
    named = "HashEncoder" if precision == "float32" else f"HashEncoder {precision}"

    def encoder(modality: str) -> Encode:
        run = getattr(opened, modality)
        return lambda inputs: (run(inputs), run(inputs, packed=False))

    def pictures(inputs: Any) -> Any:
        return encoder("image")(inputs.tolist())

    for modality in MODALITIES:
        yield f"{named} {modality}", modality, encoder(modality)
    encoders = served.manifest["encoders"]
    for entry in (manifests.RAW_TEXT, manifests.TEXT_ENCODER):
        if entry in encoders:
            yield f"{named} of strings", entry, encoder("text")
    for entry in (manifests.RAW_IMAGE, manifests.IMAGE_ENCODER):
        if entry in encoders and (precision == "float32" or entry == manifests.IMAGE_ENCODER):
            yield f"{named} of pictures", entry, pictures


def _check_examples(served: Served, expected: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """serving_default on examples with both modalities, with one and with none, and one of a wrong length."""
    import tensorflow as tf

    features = served.manifest["signatures"]["serving_default"]["features"]
    rows = min(len(expected[modality]) for modality in features)
    inputs = {modality: expected[modality][:rows] for modality in features}
    examples, present = serialized_examples(inputs, rows), presence(rows)
    numbered = np.empty((rows, 2), object)
    numbered[:, 0], numbered[:, 1] = examples, np.arange(rows)
    results = {}
    for modality in features:
        what = f"saved_model serving_default {modality}"

        def encode(pairs: NDArray[Any], modality: str = modality, what: str = what) -> Any:
            outputs = served.run("serving_default", examples=pairs[:, 0].astype(object))
            if not np.array_equal(outputs[f"has_{modality}"], present[modality][pairs[:, 1].astype(int)]):
                raise ValueError(f"{what} says wrongly which rows have one")
            return outputs[f"{modality}_packed_codes"], outputs[f"{modality}_codes"]

        codes = expected[f"{modality}_codes"][:rows] * present[modality][:, None]
        results[what] = compare(what, encode, numbered, codes, tolerance)
        for count in ("bits_compared", "bits_near_zero"):  # zeros that stand for no code are none
            results[what][count] -= int((~present[modality]).sum()) * codes.shape[1]
        short = {modality: inputs[modality].reshape(rows, -1)[:, :-1]}
        if short[modality].shape[1]:
            try:
                served.run("serving_default", examples=serialized_examples(short, 4))
            except tf.errors.InvalidArgumentError:
                continue
            raise ValueError(f"{what} takes a list of a wrong length")
    return results


def _of_keras_file(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Features]:
    from scbch_keras.export.graphs.inputs import encoder_inputs
    from scbch_keras.preprocessing.keras_file import load_in_float32

    manifests.listed(folder, manifest, manifests.MODEL)
    model = load_in_float32(folder / manifests.MODEL)
    encoders = manifest["encoders"]
    pipeline: TextPipeline | TextEncoder | None = None
    image: ImagePipeline | ImageEncoder | None = None
    if manifests.RAW_TEXT in encoders:
        pipeline = opened_pipeline(folder, manifest)[0]
    if raw := encoders.get(manifests.RAW_IMAGE):
        for file in (raw["pipeline"]["path"], raw["pipeline"]["backbone"]):
            if file is not None:
                manifests.listed(folder, manifest, file)
        image = ImagePipeline.load(folder)
    if manifests.TEXT_ENCODER in encoders:
        pipeline = TextEncoder.load(folder)
    if manifests.IMAGE_ENCODER in encoders:
        image = ImageEncoder.load(folder)
    return expected_codes(model, encoder_inputs(model), pipeline, image)


def main(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a validation asks: {"encoders", "wrong", "losses", "map", "baseline"}."""
    manifest = manifests.read(folder)
    wrong: list[str] = []
    answer: dict[str, Any] = {"encoders": {}, "wrong": wrong, "losses": {}, "map": None, "baseline": None}
    with _collected(wrong, manifests.MODEL):
        if request["expected"] is not None:
            with np.load(request["expected"], allow_pickle=False) as file:
                expected = grouped(dict(file))
        else:
            expected = _of_keras_file(folder, manifest)
    served = Served(folder, manifest)
    if not wrong:
        answer["encoders"], findings = verify(served, expected, request["tolerance"])
        wrong += findings
    if not wrong:
        answer["losses"] = losses_on_probes(served.endpoints(), answer["encoders"])
    if request["evaluation"] is not None and not wrong:
        evaluation = Evaluation.load(request["evaluation"])
        evaluated = {form: scored(served, form, evaluation) for form in served.forms()}
        answer["map"] = {form: score.map for form, score in evaluated.items()}
        answer["losses"] = losses_on_evaluation(evaluated, manifest["bits"])
        if request["baseline"] is not None:
            answer["baseline"] = _baseline(Path(request["baseline"]), evaluation)
    return answer


def _baseline(folder: Path, evaluation: Evaluation) -> dict[str, Any]:
    """Another release's score; why it has none, if its files are not what they were or do not take the queries."""
    try:
        manifest = manifests.read(folder)
        damaged = manifests.wrong_files(folder, manifest)
        if damaged:
            raise ValueError(damaged[0])
        served = Served(folder, manifest)
        exact = [form for form in served.forms() if form not in manifests.QUANTIZED]
        return {"path": str(folder), "map": {form: scored(served, form, evaluation).map for form in exact}}
    except Exception as error:
        return {"path": str(folder), "error": str(error)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--request", type=Path, required=True, help="what to do, JSON")
    parser.add_argument("--result", type=Path, required=True, help="what was found, JSON")
    parser.add_argument("--modules", nargs="*", default=[], help="imported first: they register layers")
    arguments = parser.parse_args()
    for module in arguments.modules:
        import_module(module)
    answer = main(arguments.folder, json.loads(arguments.request.read_text(encoding="utf-8")))
    arguments.result.write_text(json.dumps(answer), encoding="utf-8")
