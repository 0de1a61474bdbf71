"""What encoders in less precision cost: changed bits and mAP, and when that is too much."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.codes import unpack_codes
from scbch_keras.export import manifest as manifests
from scbch_keras.export.encoder import HashEncoder
from scbch_keras.export.evaluation import Evaluation
from scbch_keras.metrics import CrossModalMAP

QUANTIZED = tuple(precision for precision in manifests.PRECISIONS if precision != "float32")
MAX_MAP_LOSS = 0.3
"""MAP points that a precision may lose on an evaluation, in the worse direction."""
MAX_CHANGED_BITS = 0.02
"""Share of bits that it may change where there is no evaluation, which could say what they matter."""

Loss = dict[str, dict[str, float]]
"""Modality -> {"changed_bits": share; with an evaluation "map_loss": points, of both modalities together}."""


def checked_precisions(quantize: Sequence[str], formats: Sequence[str]) -> tuple[str, ...]:
    """The precisions besides float32, in their order. Raises ValueError, ImportError."""
    if isinstance(quantize, str) or set(quantize) - set(QUANTIZED):
        raise ValueError(f"quantize must be taken from {QUANTIZED}, got {quantize!r}")
    if quantize and "onnx" not in formats:
        raise ValueError(f"quantize makes ONNX files; formats are {tuple(formats)}")
    if quantize and find_spec("onnx_ir") is None:
        raise ImportError("quantize needs onnx_ir: pip install 'scbch_keras[export]'")
    return tuple(precision for precision in QUANTIZED if precision in quantize)


def losses(
    folder: Path,
    manifest: Mapping[str, Any],
    inputs: Mapping[str, NDArray[Any]],
    evaluation: Evaluation | None,
) -> dict[str, Loss]:
    """Precision -> what its encoders lose against those in float32, for each that the release holds.

    inputs: modality -> features (n, ...), on which bits are compared where there is no evaluation.
    """
    held = [
        precision
        for precision in QUANTIZED
        if any(manifests.onnx_form(precision) in manifest["encoders"][name] for name in manifests.MODALITIES)
    ]
    if not held:
        return {}
    exact, exact_map = _encoded(folder, "float32", inputs, evaluation)
    return {
        precision: _loss(exact, exact_map, *_encoded(folder, precision, inputs, evaluation))
        for precision in held
    }


def refusals(found: Mapping[str, Loss]) -> list[str]:
    """Why precisions are not good enough, a sentence each."""
    reasons = []
    for precision, modalities in found.items():
        for modality, loss in modalities.items():
            if loss.get("map_loss", 0) > MAX_MAP_LOSS:
                lost = f"{precision} loses {loss['map_loss']:.2f} mAP points on the evaluation"
                reasons.append(f"{lost}; at most {MAX_MAP_LOSS:g} are accepted")
                break
            if "map_loss" not in loss and loss["changed_bits"] > MAX_CHANGED_BITS:
                reasons.append(
                    f"{precision} changes {loss['changed_bits']:.1%} of the bits of {modality}; without an "
                    f"evaluation at most {MAX_CHANGED_BITS:.0%} are accepted"
                )
    return reasons


def note_losses(manifest: dict[str, Any], found: Mapping[str, Loss]) -> None:
    """Write into a manifest what each precision loses. Raises RuntimeError if that is too much."""
    reasons = refusals(found)
    if reasons:
        raise RuntimeError("quantizing changes the codes too much: " + "; ".join(reasons))
    for precision, modalities in found.items():
        for modality, loss in modalities.items():
            manifest["encoders"][modality][manifests.onnx_form(precision)] |= loss


def _encoded(
    folder: Path, precision: str, inputs: Mapping[str, NDArray[Any]], evaluation: Evaluation | None
) -> tuple[dict[str, NDArray[np.bool_]], CrossModalMAP | None]:
    """Modality -> bits (n, bits) of the evaluation's rows, or else of `inputs`; and the mAP."""
    encoder = HashEncoder(folder, precision=precision)
    codes: dict[str, list[NDArray[np.uint8]]] = {modality: [] for modality in manifests.MODALITIES}

    def encode(modality: str, features: NDArray[Any]) -> NDArray[np.uint8]:
        codes[modality].append(getattr(encoder, modality)(np.asarray(features, np.float32)))
        return codes[modality][-1]

    score = None
    if evaluation is not None:
        score = evaluation.score(encode, encoder.bits)
    else:
        for modality, features in inputs.items():
            encode(modality, features)
    bits = {modality: unpack_codes(np.concatenate(parts), encoder.bits) for modality, parts in codes.items()}
    return bits, score


def _loss(
    exact: Mapping[str, NDArray[Any]],
    exact_map: CrossModalMAP | None,
    came: Mapping[str, NDArray[Any]],
    came_map: CrossModalMAP | None,
) -> Loss:
    found: Loss = {name: {"changed_bits": float((exact[name] != came[name]).mean())} for name in exact}
    if exact_map is not None and came_map is not None:
        worst = 100 * max(exact_map.i2t - came_map.i2t, exact_map.t2i - came_map.t2i)
        for loss in found.values():
            loss["map_loss"] = float(worst)
    return found
