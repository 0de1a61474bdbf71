"""What encoders in less precision cost: changed bits and mAP, and when that is too much."""

from collections.abc import Iterable, Mapping
from typing import Any

from scbch_keras.codes import unpack_codes
from scbch_keras.export.format.manifest import QUANTIZED
from scbch_keras.export.validation.endpoints import Endpoint
from scbch_keras.export.validation.scores import Scored

MAX_LOST_POINTS = 0.3
"""MAP points (of 100) that a precision may lose on an evaluation, in the worse direction."""
MAX_CHANGED_BITS = 0.02
"""Share of bits that it may change where there is no evaluation, which could say what they matter."""

Losses = dict[str, dict[str, dict[str, float]]]
"""Form ("onnx_int8") -> modality -> {"changed_bits": share; with an evaluation "map_loss": points, of both
modalities together}."""


def losses_on_probes(endpoints: Iterable[Endpoint], results: Mapping[str, Any]) -> Losses:
    """What quantized encoders lose against the model, from the results of `verify`."""
    losses: Losses = {}
    for point in endpoints:
        if point.form in QUANTIZED:
            bits = results[point.what]
            changed = bits["bits_different"] / bits["bits_compared"]
            losses.setdefault(point.form, {})[point.encoder] = {"changed_bits": changed}
    return losses


def losses_on_evaluation(scores: Mapping[str, Scored], bits: int) -> Losses:
    """What quantized encoders lose against float32, by what every form gave on an evaluation."""
    losses: Losses = {}
    for form in (form for form in scores if form in QUANTIZED):
        exact, quantized = scores["onnx"], scores[form]
        lost = 100 * max(exact.map[direction] - quantized.map[direction] for direction in ("i2t", "t2i"))
        for modality, packed in quantized.codes.items():
            changed = (unpack_codes(packed, bits) != unpack_codes(exact.codes[modality], bits)).mean()
            losses.setdefault(form, {})[modality] = {"changed_bits": float(changed), "map_loss": lost}
    return losses


def refusals(losses: Losses) -> list[str]:
    """Why forms are not good enough, a sentence each."""
    reasons = []
    for form, lost in losses.items():
        points = max((loss["map_loss"] for loss in lost.values() if "map_loss" in loss), default=None)
        if points is None:
            reasons += [
                f"{form} changes {loss['changed_bits']:.1%} of the bits of {modality}; without an evaluation at "
                f"most {MAX_CHANGED_BITS:.0%} are accepted"
                for modality, loss in lost.items()
                if loss["changed_bits"] > MAX_CHANGED_BITS
            ]
        elif points > MAX_LOST_POINTS:
            reasons.append(
                f"{form} loses {points:.2f} mAP points on the evaluation; at most {MAX_LOST_POINTS:g} are accepted"
            )
    return reasons
