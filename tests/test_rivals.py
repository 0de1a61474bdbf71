"""The methods of `scbch_keras.methods` against their authors' code, run unchanged on generated inputs."""

import numpy as np
import pytest
from keras import ops

from scbch_keras.losses import classification, label_similarity, quantization
from scbch_keras.methods import dhrl, djsrh, nacd
from tests.conftest import GOLDEN
from tests.gradients import gradients_of, number, tensors

VALUE, GRADIENT = 1e-5, 1e-4


def golden(name):
    with np.load(GOLDEN / "baselines" / f"{name}.npz") as file:
        return dict(file)


def agree(actual, expected, tolerance):
    """Whether arrays agree by the largest difference, as a share of the largest value."""
    actual, expected = np.asarray(ops.convert_to_numpy(actual)), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


@pytest.mark.parametrize("beta", [0.9, 0.6])
def test_djsrh_is_the_authors(beta):
    case = golden("djsrh")
    features = tensors(case["image_features"], case["text_features"])
    target = djsrh.joint_affinity(*features, beta, float(case["eta"]), float(case["mu"]))
    agree(target, case[f"target_beta_{beta}"], VALUE)
    codes = case["image_codes"], case["text_codes"]
    weights = {"image_text": 1.0, "image_image": case["lambda1"], "text_text": case["lambda2"]}

    def parts(image, text):
        sides = {"image": image, "text": text}
        return {
            name: djsrh.reconstruction(*(sides[side] for side in name.split("_")), target) for name in weights
        }

    for name, value in parts(*tensors(*codes)).items():
        assert number(value) == pytest.approx(float(case[f"{name}_beta_{beta}"]), rel=VALUE), name

    def loss(image, text):
        return sum(float(weights[name]) * value for name, value in parts(image, text).items())

    assert number(loss(*tensors(*codes))) == pytest.approx(float(case[f"loss_beta_{beta}"]), rel=VALUE)
    for side, gradient in zip(("image", "text"), gradients_of(loss, *codes), strict=True):
        agree(gradient, case[f"grad_{side}_beta_{beta}"], GRADIENT)


def test_dhrl_is_the_authors():
    case = golden("dhrl")
    (labels,) = tensors(case["labels"])
    share = float(case["kept"]) / len(case["labels"])
    errors, chosen = {}, {}
    for side in ("image", "text"):
        (logits,) = tensors(case[f"{side}_logits"])
        errors[side] = dhrl.ranking_error(logits, labels, float(case["alpha"]), float(case["beta"]))
        agree(errors[side], case[f"{side}_ranking"], VALUE)
        chosen[side] = dhrl.chosen_share(errors[side], share)
        assert number(ops.sum(chosen[side])) == case["kept"]
        each = [
            number(dhrl.cross_entropy(logits[row : row + 1], labels[row : row + 1], None, 1.0))
            for row in range(len(logits))
        ]
        agree(np.array(each), case[f"{side}_bce"], VALUE)

    def loss(image, text, image_logits, text_logits):
        return (
            dhrl.cross_entropy(image_logits, labels, chosen["text"], share)
            + dhrl.cross_entropy(text_logits, labels, chosen["image"], share)
            + dhrl.agreement(image, text)
        )

    names = ("image_codes", "text_codes", "image_logits", "text_logits")
    inputs = [case[name] for name in names]
    assert number(loss(*tensors(*inputs))) == pytest.approx(float(case["loss"]), rel=VALUE)
    for name, gradient in zip(names, gradients_of(loss, *inputs), strict=True):
        agree(gradient, case[f"grad_{name}"], GRADIENT)


def test_nacd_is_the_authors():
    case = golden("nacd")
    (confidence,) = tensors(case["confidence"])
    trusted = case["labels"] * (case["confidence"] >= case["threshold"])
    similarity = label_similarity(*tensors(trusted))
    settings = float(case["margin"]), float(case["shift"])
    alpha, beta = float(case["alpha"]), float(case["beta"])

    def parts(image, text, image_classifier, text_classifier):
        contrast = nacd.disambiguated_contrast(image, text, similarity, *settings)
        gap = quantization(image, text)
        logits = ops.matmul(image, image_classifier), ops.matmul(text, text_classifier)
        return {
            "contrast": contrast,
            "quantization": gap,
            "hash_loss": alpha * contrast + beta * gap,
            "classification": classification(confidence, *logits),
        }

    names = ("image", "text", "image_classifier", "text_classifier")
    inputs = [case[name] for name in names]
    for name, value in parts(*tensors(*inputs)).items():
        assert number(value) == pytest.approx(float(case[name]), rel=VALUE), name

    def loss(*weights):
        values = parts(*weights)
        return values["hash_loss"] + values["classification"]

    for name, gradient in zip(names, gradients_of(loss, *inputs), strict=True):
        agree(gradient, case[f"grad_{name}"], GRADIENT)
    revised = nacd.revise(
        case["image"], case["text"], case["labels"], case["confidence"], int(case["k"]), float(case["Lambda"])
    )
    agree(revised, case["revised_confidence"], VALUE)
