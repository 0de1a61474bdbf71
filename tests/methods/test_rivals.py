"""The methods of `scbch_keras.methods` against their authors' code, run unchanged on generated inputs."""

import keras
import numpy as np
import pytest
from keras import ops

import scbch_keras as sk
from scbch_keras.labels.audit import auroc
from scbch_keras.losses import classification, label_similarity, quantization
from scbch_keras.methods import dgcpn, dhrl, djsrh, nacd, ucch
from scbch_keras.methods.ucch import UCCH
from tests.gradients import gradients_of, number, tensors
from tests.methods import GRADIENT, QUICKLY, VALUE, agree, golden


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


def test_dgcpn_is_the_authors():
    case = golden("dgcpn")
    features = case["image_features"], case["text_features"]
    neighbors = len(features[0]) - int(case["knn_number"])
    shares = float(case["a1"]), float(case["a2"])
    target = dgcpn.coherence_target(*features, *shares, neighbors, float(case["scale"]))
    agree(target, case["target"], VALUE)
    rows = case["index"]
    (target,) = tensors(target[np.ix_(rows, rows)])
    codes = case["image_codes"], case["text_codes"]

    def parts(image, text):
        return dgcpn.coherence_terms(image, text, target, float(case["K"]))

    def loss(image, text):
        values = parts(image, text)
        return (
            values["pair"] + float(case["dw"]) * values["graph"] + float(case["cw"]) * values["consistency"]
        )

    partners = {
        "both": lambda image, text: (image, text),
        "image_step": lambda image, text: (image, dgcpn._binary(text)),
        "text_step": lambda image, text: (dgcpn._binary(image), text),
    }
    for step, of in partners.items():
        values = parts(*of(*tensors(*codes)))
        graph = sum(float(case[f"{name}_{step}"]) for name in ("text_text", "image_text", "image_image"))
        expected = {"pair": case[f"pair_{step}"], "graph": graph, "consistency": case[f"consistency_{step}"]}
        for name, value in expected.items():
            assert number(values[name]) == pytest.approx(float(value), rel=VALUE), (step, name)
        assert number(loss(*of(*tensors(*codes)))) == pytest.approx(float(case[f"loss_{step}"]), rel=VALUE)

    def with_binary_partners(image, text):
        return sum(loss(*partners[step](image, text)) for step in ("image_step", "text_step"))

    steps = {"both": lambda image, text: loss(image, text), "binary": with_binary_partners}
    image, text = gradients_of(steps["both"], *codes)
    agree(image, case["grad_image_both"], GRADIENT)
    agree(text, case["grad_text_both"], GRADIENT)
    # One update that is the authors' second in the images' branch and their third in the texts'.
    image, text = gradients_of(steps["binary"], *codes)
    agree(image, case["grad_image_image_step"], GRADIENT)
    agree(text, case["grad_text_text_step"], GRADIENT)


def test_the_bank_of_ucch_is_the_authors():
    case = golden("ucch")
    rows, temperature = case["index"], float(case["temperature"])
    codes = case["image"], case["text"]
    steps = {
        "warmup": (
            0.0,
            "memory_before",
            lambda image, text: ucch.instance_contrast(image, text, temperature),
        ),
        "bank": (
            float(case["momentum"]),
            "memory_after_warmup",
            lambda image, text: ucch.bank_contrast(
                image, text, *tensors(case["memory_after_warmup"]), case["draws"].astype("int32"), temperature
            ),
        ),
    }
    for step, (momentum, before, contrast) in steps.items():
        value = number(contrast(*tensors(*codes)))
        assert value == pytest.approx(float(case[f"{step}_contrast"]), rel=VALUE)
        for side, gradient in zip(("image", "text"), gradients_of(contrast, *codes), strict=True):
            agree(gradient, case[f"grad_{side}_{step}_contrast"], GRADIENT)
        memory = case[before].copy()
        moved = ucch.moved_rows(*tensors(*codes, memory[rows]), momentum)
        memory[rows] = ops.convert_to_numpy(moved)
        agree(memory, case[f"memory_after_{step}"], VALUE)


def compiled(method, learning_rate=3e-3, **settings):
    """A small compiled model for `pairs`; on TensorFlow without XLA."""
    branches = {
        f"{side}_branch": sk.HashBranch(20, (32,), name=f"{side}_branch") for side in ("image", "text")
    }
    model = method(20, 8, **branches, **settings)
    model.compile(keras.optimizers.Adam(learning_rate), **QUICKLY)
    return model


def positive(pairs):
    """The pairs with features without negative values, as the frozen features of a ReLU are."""
    x, labels = pairs
    return {"image": np.maximum(x["image"], 0), "text": x["text"]}, labels


def test_a_batch_makes_two_updates_by_dgcpn(pairs):
    x, labels = positive(pairs)
    model = compiled(dgcpn.DGCPN)
    history = model.fit(x, labels, batch_size=80, epochs=2, verbose=0).history
    assert int(ops.convert_to_numpy(model.optimizer.iterations)) == 2 * 2 * 3
    assert history["skipped"] == [0, 0]
    neighbors = round(0.4 * len(labels))
    expected = dgcpn.coherence_target(x["image"], x["text"], 0.01, 0.3, neighbors, 2 * neighbors)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.target), expected)


def test_duplicates_are_each_others_neighbours():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.random((6, 5)), 2, axis=0)
    target = dgcpn.coherence_target(features, features, 0.5, 1.0, 2, 1.0)
    coherence = (target + 1) / 2
    # With one neighbour each, two samples share it only if they have the same one: a sample and itself.
    np.testing.assert_allclose(coherence, np.eye(12), atol=1e-6)


def test_features_with_negative_values_have_a_bounded_target():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((50, 4))
    target = dgcpn.coherence_target(features, features, 0.5, 1.0, 45, 1.0)
    # Shares of neighbours: no two samples have more in common than all of them.
    assert -1 <= target.min() <= target.max() <= 1
    opposite = np.array([[1.0], [-1.0]])
    np.testing.assert_array_equal(
        dgcpn.coherence_target(opposite, opposite, 0.5, 1.0, 2, 1.0), -np.ones((2, 2))
    )


def test_the_slope_hardens_codes_in_training_and_keeps_their_signs(pairs):
    x, labels = positive(pairs)
    model = compiled(djsrh.DJSRH)
    model.fit(x, labels, batch_size=80, epochs=4, verbose=0)
    assert number(model.slope) == 2
    soft, hard = (ops.convert_to_numpy(model(x, training=training)["image"]) for training in (False, True))
    np.testing.assert_array_equal(soft > 0, hard > 0)
    assert np.abs(np.abs(hard) - 20**-0.5).mean() < np.abs(np.abs(soft) - 20**-0.5).mean()


def test_a_row_of_zeros_is_like_no_other_sample():
    features = np.eye(3, dtype="float32")
    features[2] = 0
    target = ops.convert_to_numpy(djsrh.joint_affinity(*tensors(features, features), 0.5, 0.0, 1.0))
    np.testing.assert_allclose(target, [[1, -1, -1], [-1, 1, -1], [-1, -1, -1]], atol=1e-6)


@pytest.mark.parametrize(
    ("kept", "expected"), [(0.5, [1, 0, 1, 0]), (0.75, [1, 1, 1, 0]), (1.0, [1, 1, 1, 1])]
)
def test_the_best_ranked_share_of_a_batch_is_chosen(kept, expected):
    errors = ops.convert_to_tensor([0.1, 0.5, 0.1, 0.9])
    np.testing.assert_array_equal(ops.convert_to_numpy(dhrl.chosen_share(errors, kept)), expected)
    # A sample of weight 0 is not in the batch: it neither counts nor takes another's place.
    errors = ops.convert_to_tensor([0.1, 0.5, 0.1, 0.9, 0.0])
    weight = ops.convert_to_tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(ops.convert_to_numpy(dhrl.chosen_share(errors, kept, weight))[:4], expected)


def redundant(labels, rng):
    """Labels with as many added as there are, at most."""
    wrong = (rng.random(labels.shape) < 0.25) & (labels == 0)
    return np.where(wrong, 1, labels), wrong


def test_redundant_labels_lose_confidence(pairs):
    x, labels = pairs
    keras.utils.set_random_seed(2)
    given, wrong = redundant(labels, np.random.default_rng(3))
    model = compiled(nacd.NACD, learning_rate=1e-2, warmup_epochs=2)
    model.fit(x, given, batch_size=80, epochs=12, verbose=0)
    confidence = ops.convert_to_numpy(model.label_confidence)
    there = given > 0
    assert auroc(-confidence[there], wrong[there]) > 0.8
    assert not confidence[given == 0].any()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    np.testing.assert_array_less(0, ops.convert_to_numpy(model.threshold))


def test_nacd_goes_on_from_a_saved_model_as_if_never_stopped(pairs, tmp_path):
    x, labels = pairs
    data = sk.PairDataset(**x, labels=labels, batch_size=80, seed=1)
    keras.utils.set_random_seed(2)
    model = compiled(nacd.NACD, warmup_epochs=1)
    model.fit(data, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(data, initial_epoch=3, epochs=5, verbose=0)
    for name in ("label_confidence", "threshold"):
        np.testing.assert_array_equal(
            *(ops.convert_to_numpy(getattr(each, name)) for each in (model, loaded)), name
        )
    np.testing.assert_array_equal(
        *(each.encode_image(x["image"], packed=False, verbose=0) for each in (model, loaded))
    )


def test_another_training_set_starts_with_all_labels_trusted(pairs):
    x, labels = pairs
    model = compiled(nacd.NACD)
    model.fit(x, labels, batch_size=80, epochs=2, verbose=0)
    fewer = {side: values[:100] for side, values in x.items()}
    model.fit(fewer, labels[:100], batch_size=80, epochs=0, verbose=0)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.label_confidence), labels[:100])


@pytest.mark.parametrize("method", [nacd.NACD, dgcpn.DGCPN])
def test_a_batch_that_does_not_say_its_rows_is_refused(pairs, method):
    x, labels = positive(pairs)
    model = compiled(method)
    model.build({side: values.shape for side, values in x.items()})
    with pytest.raises(ValueError, match="index"):
        model.fit([(x, labels)], verbose=0)


def test_the_bank_holds_what_an_epoch_wrote_and_goes_on_from_a_saved_model(pairs, tmp_path):
    x, labels = pairs
    data = sk.PairDataset(**x, labels=labels, batch_size=80, seed=1)
    keras.utils.set_random_seed(2)
    model = compiled(UCCH, draws=300)
    model.fit(data, epochs=1, verbose=0)
    assert number(model.banked) == 0
    memory = ops.convert_to_numpy(model.memory)
    np.testing.assert_allclose(np.linalg.norm(memory, axis=1), 1, rtol=1e-5)
    history = model.fit(data, initial_epoch=1, epochs=3, verbose=0).history
    assert number(model.banked) == 1
    # 301 codes to choose from in place of 80.
    assert 2 * np.log(80) < history["contrast"][0] < 2.2 * np.log(301)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(data, initial_epoch=3, epochs=4, verbose=0)
    np.testing.assert_array_equal(*(ops.convert_to_numpy(each.memory) for each in (model, loaded)))
    np.testing.assert_array_equal(
        *(each.encode_text(x["text"], packed=False, verbose=0) for each in (model, loaded))
    )
