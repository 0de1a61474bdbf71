import keras
import numpy as np
import pytest
from keras import ops

import scbch_keras as sk
from scbch_keras.methods import batch_terms, dcmh, infonce, nrch, rshnl, ucch
from scbch_keras.methods.dcmh import DCMH
from scbch_keras.methods.mixture import lower_component
from scbch_keras.methods.nrch import NRCH
from scbch_keras.methods.rshnl import RSHNL
from tests.gradients import gradients_of, number, tensors
from tests.methods import BASELINES, QUICKLY

LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]], "float32")
WEIGHT = np.array([1.0, 0.5, 2.0, 0.25, 1.5], "float32")
BITS = 6


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("float32")


@pytest.fixture(scope="module")
def codes():
    """Image and text codes of five samples, unit norm, each pair alike but for noise."""
    rng = np.random.default_rng(4)
    image = rng.uniform(-1, 1, (5, BITS))
    return unit(image), unit(image + rng.uniform(-1, 1, (5, BITS)))


@pytest.fixture(scope="module")
def centers():
    return unit(np.random.default_rng(5).standard_normal((3, BITS)))


# Every term as (image, text, sample_weight) -> scalar, with the labels above.
TERMS = {
    "pairwise_likelihood": lambda i, t, w: dcmh.pairwise_likelihood(
        i, t, batch_terms.shares_label(LABELS), w
    ),
    "unified_quantization": dcmh.unified_quantization,
    "bit_balance": dcmh.bit_balance,
    "instance_contrast": lambda i, t, w: ucch.instance_contrast(i, t, 0.9, w),
    "cross_modal_ranking": lambda i, t, w: ucch.cross_modal_ranking(i, t, 0.2, 1.0, w),
    "info_nce": lambda i, t, w: infonce.info_nce(i, t, 0.07, w),
    "robust_contrast": lambda i, t, w: nrch.robust_contrast(
        i, t, batch_terms.shares_label(LABELS), 0.2, 1.0, w
    ),
    "magnitude_gap": nrch.magnitude_gap,
    "pair_contrast": lambda i, t, w: rshnl.pair_contrast(i, t, 0.5, 0.3, w),
}


def softmax_share(scores, i, w):
    """Share of entry i in the softmax of a list of scores, each counted w times."""
    return w[i] * np.exp(scores[i]) / sum(w[j] * np.exp(scores[j]) for j in range(len(scores)))


def lowered(row, own, margin, shift):
    return [score if score >= own - margin else score - shift for score in row]


def shares(i, j):
    return float(LABELS[i] @ LABELS[j] > 0)


def by_hand(name, image, text, w):
    """The terms again, a sample and a pair at a time."""
    n, total = len(image), 0.0
    scores = image @ text.T
    if name == "bit_balance":
        sums = [sum(w[i] * code[i] for i in range(n)) for code in (image, text)]
        return sum(float(s @ s) for s in sums) / n**2
    for i in range(n):
        binary = np.array([1.0 if image[i][k] + text[i][k] > 0 else -1.0 for k in range(BITS)])
        if name == "pairwise_likelihood":
            for j in range(n):
                theta = scores[i][j] / 2
                total += w[i] * w[j] * (np.log(1 + np.exp(theta)) - shares(i, j) * theta) / n**2
        elif name == "unified_quantization":
            total += w[i] * (np.sum((binary - image[i]) ** 2) + np.sum((binary - text[i]) ** 2)) / n**2
        elif name == "magnitude_gap":
            for code in (image, text):
                total += w[i] * np.mean((np.abs(code[i]) - 1 / np.sqrt(BITS)) ** 2) / n
        elif name == "instance_contrast":
            all_binary = np.where(image + text > 0, 1, -1) / np.sqrt(BITS)
            for code in (image, text):
                total -= w[i] * np.log(softmax_share(all_binary @ code[i] / 0.9, i, w)) / n
        elif name == "pair_contrast":
            both, weights = np.concatenate([image, text]), np.concatenate([w, w])
            for row, other in ((i, n + i), (n + i, i)):
                others = [k for k in range(2 * n) if k != row]
                p = softmax_share(both[others] @ both[row] / 0.5, others.index(other), weights[others])
                total += w[i] * (0.7 * (1 - p**0.3) / 0.3 + 0.3 * (1 - p)) / n
        else:
            for row in (scores[i], scores[:, i]):
                own = row[i]
                if name == "info_nce":
                    total -= w[i] * np.log(softmax_share(row / 0.07, i, w)) / (2 * n)
                    continue
                negatives = lowered(row, own, 0.2, 1.0)
                if name == "robust_contrast":
                    negatives = [
                        max(own, 0.0) if j == i else (1 - shares(i, j)) * negatives[j] for j in range(n)
                    ]
                counted = np.log(sum(w[j] / w[i] * np.exp(negatives[j]) for j in range(n)))
                total += w[i] * (0.2 - own + counted) / n
    return total


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", TERMS)
def test_terms_are_the_formulas_pair_by_pair(codes, name, weighted):
    expected = by_hand(name, *codes, WEIGHT if weighted else np.ones(5))
    value = TERMS[name](*tensors(*codes), ops.convert_to_tensor(WEIGHT) if weighted else None)
    assert number(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_a_sample_of_weight_zero_changes_nothing(codes, name):
    weight = ops.convert_to_tensor([1.0, 1.0, 0.0, 1.0, 1.0])
    other = [np.array(code) for code in codes]
    for code in other:
        code[2] = -code[2][::-1]
    values = [number(TERMS[name](*tensors(*pair), weight)) for pair in (codes, other)]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("scale", [1.0, 0.0])
def test_gradients_are_finite(codes, name, scale):
    def value(image, text):
        return TERMS[name](image, text, ops.convert_to_tensor(np.float32(scale) * WEIGHT))

    gradients = gradients_of(value, *codes)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients) == (scale > 0)


def test_center_errors_by_hand(codes, centers):
    errors = ops.convert_to_numpy(nrch.center_errors(*tensors(LABELS, *codes, centers.T)))
    for i in range(5):
        for c in range(3):
            sign = 1 if LABELS[i, c] else -1
            expected = sum((sign - code[i] @ centers[c]) ** 2 for code in codes)
            assert errors[i, c] == pytest.approx(expected, rel=1e-5)


def test_center_errors_teach_the_centers_alone(codes, centers):
    labels = ops.convert_to_tensor(LABELS)
    *of_codes, of_centers = gradients_of(
        lambda image, text, kernel: (
            ops.sum(nrch.center_errors(labels, image, text, kernel)) + 0 * ops.sum(image + text)
        ),
        *codes,
        centers.T,
    )
    assert not any(gradient.any() for gradient in of_codes)
    assert of_centers.any()


@pytest.mark.parametrize("q", [0.01, 0.5, 1.0])
def test_center_aggregation_by_hand(codes, centers, q):
    values = ops.convert_to_numpy(rshnl.center_aggregation(*tensors(LABELS, *codes, centers), q))
    for i in range(5):
        expected = 0.0
        for code in codes:
            scores = np.exp(centers @ code[i])
            p = LABELS[i] @ scores / scores.sum()
            expected += LABELS[i].any() * ((1 - q) * (1 - p**q) / q + q * (1 - p))
        assert values[i] == pytest.approx(expected, rel=1e-4)


def test_a_sample_without_labels_has_a_finite_gradient(codes, centers):
    labels = ops.convert_to_tensor(0 * LABELS)
    gradients = gradients_of(
        lambda image, text, means: ops.sum(rshnl.center_aggregation(labels, image, text, means, 0.01)),
        *codes,
        centers,
    )
    assert not any(gradient.any() for gradient in gradients)


def test_robust_loss_is_cross_entropy_at_one_end_and_absolute_error_at_the_other():
    p = np.array([0.01, 0.3, 1.0], "float32")
    log_p = ops.log(ops.convert_to_tensor(p))
    np.testing.assert_allclose(ops.convert_to_numpy(rshnl.robust_loss(log_p, 1.0)), 1 - p, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(rshnl.robust_loss(log_p, 1e-3)), -np.log(p), rtol=1e-2)


def test_the_mixture_finds_two_groups():
    rng = np.random.default_rng(0)
    lower = rng.normal(0.2, 0.05, 300)
    values = np.concatenate([lower, rng.normal(0.8, 0.05, 100)])
    probability = lower_component(values)
    assert probability[:300].min() > 0.95
    assert probability[300:].max() < 0.05
    np.testing.assert_array_equal(lower_component(np.full(5, 0.3)), np.ones(5))


# The models

SMALL = {
    "rshnl": {"center_units": (16,), "warmup_epochs": 1},
    "nrch": {"warmup_epochs": 1},
    "nacd": {"warmup_epochs": 1},
    "cirh": {"teacher_units": 16},
}
LOGS = {
    "dcmh": {"likelihood", "quantization", "balance"},
    "ucch": {"contrast", "ranking"},
    "infonce": {"contrast", "quantization"},
    "nrch": {"contrast", "quantization", "centers", "confidence"},
    "rshnl": {"aggregation", "contrast", "confidence"},
    "nacd": {"classification", "contrast", "quantization"},
    "dhrl": {"image_classification", "text_classification", "agreement"},
    "djsrh": {"image_text", "image_image", "text_text"},
    "dgcpn": {"pair", "graph", "consistency"},
    "cpah": {"adversarial", "consistency", "classification", "pairs", "quantization"},
    "cirh": {"reconstruction", "teacher_affinity", "teacher_sign", "codes", "affinity"},
    "mian": {"pairs", "quantization", "classification", "information"},
}


def make(name, learning_rate=3e-3, **settings):
    """A small compiled model for `pairs`."""
    branches = {
        f"{side}_branch": sk.HashBranch(20, (32,), name=f"{side}_branch") for side in ("image", "text")
    }
    model = BASELINES[name](20, 8, **{**branches, **SMALL.get(name, {}), **settings})
    model.compile(keras.optimizers.Adam(learning_rate), **QUICKLY)
    return model


@pytest.mark.parametrize("name", BASELINES)
def test_trains_saves_and_loads(name, pairs, tmp_path):
    x, labels = pairs
    keras.utils.set_random_seed(1)
    # All samples in every epoch, so that the losses of two epochs can be compared.
    model = make(name, **({"warmup_epochs": 3} if "warmup_epochs" in SMALL.get(name, {}) else {}))
    history = model.fit(x, labels, batch_size=80, epochs=3, verbose=0, validation_data=(x, labels)).history
    logged = {"loss", "skipped", *LOGS[name]}
    assert set(history) == logged | {f"val_{term}" for term in logged - {"skipped", "confidence"}}
    assert history["loss"][-1] < history["loss"][0]
    assert history["skipped"] == [0] * 3
    if (
        keras.backend.backend() != "torch"
    ):  # what a file holds is the same; test_scbch.py opens one everywhere
        return
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    configs = [
        {key: value for key, value in m.get_config().items() if not key.endswith("_branch")}
        for m in (model, loaded)
    ]
    assert configs[0] == configs[1]
    for side in ("image", "text"):
        codes = [getattr(m, f"encode_{side}")(x[side], verbose=0) for m in (model, loaded)]
        np.testing.assert_array_equal(*codes)
    for weight, restored in zip(model.trainable_weights, loaded.trainable_weights, strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (weight, restored)))


@pytest.mark.parametrize("name", ["nrch", "rshnl"])
def test_wrong_labels_get_a_lower_confidence(name, pairs):
    x, labels = pairs
    keras.utils.set_random_seed(2)
    rows = np.flatnonzero(labels.any(axis=1))[:160]
    x, labels = {side: values[rows] for side, values in x.items()}, labels[rows]
    wrong = np.random.default_rng(3).random(len(labels)) < 0.3
    noisy = np.where(wrong[:, None], np.roll(labels, 1, axis=1), labels)
    model = make(name, learning_rate=1e-2, warmup_epochs=9)
    history = model.fit(x, noisy, batch_size=80, epochs=10, verbose=0).history
    assert history["confidence"][8] == 1
    assert 0 < history["confidence"][9] < 1
    confidence = ops.convert_to_numpy(model.confidence)
    assert confidence[wrong].mean() < confidence[~wrong].mean() - 0.03


def test_self_paced_weights_follow_the_difficulty(pairs):
    x, labels = pairs
    model = make("rshnl", gamma=3.0)
    data = sk.PairDataset(**x, labels=labels, batch_size=240, shuffle=False)
    model.fit(data, epochs=0, verbose=0)
    batch, y = data[0]
    outputs = model(batch)
    weights = model.estimate_confidence(data)
    _, plain = model.objective(batch, *tensors(y), outputs, None, False)["aggregation"]
    difficulty = ops.convert_to_numpy(
        rshnl.center_aggregation(y, outputs["image"], outputs["text"], model._centers(), model.q)
    )
    np.testing.assert_allclose(weights, np.maximum(0, 1 - difficulty / 3), atol=1e-5)
    assert number(plain) == pytest.approx(difficulty.mean(), rel=1e-5)
    model.confidence.assign(weights)
    _, weighted = model.objective(batch, *tensors(y), outputs, None, True)["aggregation"]
    assert number(weighted) == pytest.approx((weights * difficulty).mean(), rel=1e-4)


def test_samples_that_do_not_pass_are_as_if_not_in_the_batch(pairs):
    x, labels = pairs
    model = make("nrch")
    data = sk.PairDataset(**x, labels=labels, batch_size=240, shuffle=False)
    model.fit(data, epochs=0, verbose=0)
    passing = (np.arange(240) % 3 > 0).astype("float32")
    model.confidence.assign(passing)
    batch, y = data[0]
    clean = {name: values[passing > 0] for name, values in batch.items()}
    selected = model.objective(batch, *tensors(y), model(batch), None, True)
    alone = model.objective(clean, *tensors(y[passing > 0]), model(clean), None, True)
    for name, (_, value) in selected.items():
        assert number(value) == pytest.approx(number(alone[name][1]), rel=1e-4), name


def test_without_selection_all_samples_teach(pairs):
    x, labels = pairs
    model = make("nrch", selection=False, warmup_epochs=0)
    history = model.fit(x, labels, batch_size=80, epochs=2, verbose=0).history
    assert "confidence" not in history
    data = sk.PairDataset(**x, labels=labels, batch_size=240, shuffle=False)
    batch, y = data[0]
    training, validation = (
        model.objective(batch, *tensors(y), model(batch), None, training) for training in (True, False)
    )
    assert {name: number(value) for name, (_, value) in training.items()} == {
        name: number(value) for name, (_, value) in validation.items()
    }


def test_codes_are_scaled_to_signs_for_dcmh():
    signs = np.sign(np.random.default_rng(6).standard_normal((5, 20)))
    (codes,) = tensors(signs / 20**0.5)
    model = DCMH(20, 3)
    terms_of = model.objective({}, *tensors(LABELS), {"image": codes, "text": codes}, None, False)
    assert number(terms_of["quantization"][1]) < 1e-10


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dcmh", {"gamma": -1}),
        ("dcmh", {"eta": -0.1}),
        ("ucch", {"alpha": 1.5}),
        ("ucch", {"temperature": 0}),
        ("ucch", {"margin": -1}),
        ("ucch", {"shift": -1}),
        ("ucch", {"draws": 0}),
        ("ucch", {"momentum": 1.1}),
        ("infonce", {"temperature": -0.1}),
        ("infonce", {"beta": -1}),
        ("nrch", {"alpha": -0.1}),
        ("nrch", {"threshold": 2}),
        ("nrch", {"warmup_epochs": -1}),
        ("rshnl", {"alpha": -1}),
        ("rshnl", {"gamma": 0}),
        ("rshnl", {"q": 0}),
        ("rshnl", {"q": 1.1}),
        ("rshnl", {"temperature": 0}),
        ("rshnl", {"center_units": (0,)}),
        ("nacd", {"margin": -1}),
        ("nacd", {"shift": -1}),
        ("nacd", {"alpha": -0.1}),
        ("nacd", {"beta": -0.1}),
        ("nacd", {"revision": 1.1}),
        ("nacd", {"neighbors": 0}),
        ("nacd", {"warmup_epochs": -1}),
        ("dhrl", {"kept": 0}),
        ("dhrl", {"kept": 1.5}),
        ("dhrl", {"missing": -1}),
        ("dhrl", {"extra": -1}),
        ("djsrh", {"beta": 1.1}),
        ("djsrh", {"eta": -0.1}),
        ("djsrh", {"mu": -1}),
        ("djsrh", {"lambda_image": -1}),
        ("djsrh", {"lambda_text": -1}),
        ("dgcpn", {"text_share": 1.1}),
        ("dgcpn", {"coherence_share": -0.1}),
        ("dgcpn", {"neighbor_share": 0}),
        ("dgcpn", {"neighbor_share": 1.1}),
        ("dgcpn", {"pull": -1}),
        ("dgcpn", {"graph_weight": -1}),
        ("dgcpn", {"consistency_weight": -1}),
    ],
)
def test_bad_arguments_are_named(name, settings):
    (argument,) = settings
    with pytest.raises(ValueError, match=rf"^{argument} must be"):
        BASELINES[name](20, 8, **settings)


def test_defaults_are_the_authors():
    assert (DCMH(8, 3).gamma, DCMH(8, 3).eta) == (1, 1)
    assert (NRCH(8, 3).alpha, NRCH(8, 3).threshold) == (0.6, 0.3)
    assert RSHNL(8, 3).centers.units == (4096, 4096)
