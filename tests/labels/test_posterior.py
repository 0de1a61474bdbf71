import numpy as np
import pytest

from scbch_keras.labels.curves import NoiseFit, swap
from scbch_keras.labels.noise import additive, mixed_symmetric, subtractive
from scbch_keras.labels.posterior import LabelPosterior, estimate, leave_one_out
from scbch_keras.labels.scores import RIDGES

pytestmark = pytest.mark.numpy_only


@pytest.fixture(scope="module")
def data(draw_pairs):
    return draw_pairs(0.2)


def kernel_of(image, text):
    root = np.sign(image) * np.sqrt(np.abs(image))
    a = root - root.mean(axis=0)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = text * (np.log((1 + len(text)) / (1 + (text > 0).sum(axis=0))) + 1)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-12)
    return a @ a.T + b @ b.T


def test_leave_one_out_equals_leaving_each_sample_out(data):
    image, text, labels = (values[:60] for values in data)
    scores, ridge = leave_one_out(image, text, labels)
    kernel, mean = kernel_of(image, text), labels.mean(axis=0)
    errors = {}
    for value in RIDGES:
        predicted = np.empty(labels.shape)
        for i in range(60):
            others = np.arange(60) != i
            inverse = np.linalg.inv(kernel[np.ix_(others, others)] + value * np.eye(59))
            predicted[i] = kernel[i, others] @ inverse @ (labels[others] - mean) + mean
        errors[value] = np.square(predicted - labels).sum()
        if value == ridge:
            np.testing.assert_allclose(scores, predicted, atol=2e-5)
    assert ridge == min(errors, key=errors.get)


def test_a_group_is_left_out_as_a_whole_and_gets_the_mean(data):
    image, text, labels = (values[:60] for values in data)
    groups = np.random.default_rng(2).integers(0, 25, 60)
    labels = labels[groups]  # one item's rows have its labels
    scores, ridge = leave_one_out(image, text, labels, groups)
    kernel, mean = kernel_of(image, text), labels.mean(axis=0)
    for group in np.unique(groups):
        own, others = groups == group, groups != group
        inverse = np.linalg.inv(kernel[np.ix_(others, others)] + ridge * np.eye(others.sum()))
        predicted = kernel[np.ix_(own, others)] @ inverse @ (labels[others] - mean) + mean
        np.testing.assert_allclose(scores[own], np.tile(predicted.mean(axis=0), (own.sum(), 1)), atol=2e-5)
    blocks, _ = leave_one_out(image, text, labels, groups, block_size=7)
    np.testing.assert_allclose(blocks, scores, atol=1e-5)


def test_groups_keep_wrong_labels_from_vouching_for_each_other(data):
    image, text, labels = data
    groups = np.arange(400) // 4
    noise = np.random.default_rng(4)
    image, text = (
        values[::4][groups] + noise.random((400, values.shape[1])) * 0.1 for values in (image, text)
    )
    true = labels[::4][groups]
    noisy = mixed_symmetric(labels[::4], 0.5, 3).labels[groups]
    apart, together = (estimate(image, text, noisy, groups=given) for given in (groups, None))
    errors = [np.square(one.probabilities - true).mean() for one in (apart, together)]
    assert errors[0] < 0.8 * errors[1]
    assert apart.noise_rate == pytest.approx(0.5, abs=0.15)
    assert together.noise_rate < 0.2
    np.testing.assert_array_equal(apart.probabilities, apart.probabilities[::4][groups])


@pytest.mark.parametrize("groups", [np.zeros(400), np.zeros(399, int), [0] * 400, np.zeros(400, int)])
def test_groups_that_are_none_are_refused(data, groups):
    with pytest.raises(
        ValueError, match=r"groups must be an array of integers|groups: .* row \d+ has others than"
    ):
        estimate(*data, groups=groups)


def test_the_columns_product_in_blocks_equals_the_samples_product(data):
    image, text, labels = data
    whole, ridge = leave_one_out(image, text, labels)  # more rows than columns
    blocks, _ = leave_one_out(image, text, labels, block_size=37)
    np.testing.assert_allclose(blocks, whole, atol=1e-5)
    wide = np.concatenate([image, np.zeros((400, 500), "float32")], axis=1)
    dual, same = leave_one_out(wide, text, labels)
    assert same == ridge
    np.testing.assert_allclose(dual, whole, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({"separate": False}, 1),
        ({"separate": True}, 2),
        ({"rates": (0.05, 0.4)}, 0),
        ({"rates": (0.05, 0.4), "true_rows": np.arange(400) < 50}, 0),
    ],
)
@pytest.mark.parametrize("scores", [1, 3])
def test_the_gradient_of_the_likelihood_is_its_slope(data, settings, rates, scores):
    image, text, labels = data
    found = leave_one_out(image, text, labels)[0]
    noise = np.random.default_rng(2).standard_normal((scores, *found.shape)).astype("float32")
    fit = NoiseFit(found + 0.2 * noise, labels, **settings)
    at = np.random.default_rng(1).random(10 + 10 * scores + rates) * 0.5
    _, gradient = fit._loss(at)
    for number in range(len(at)):
        step = np.zeros_like(at)
        step[number] = 1e-6
        slope = (fit._loss(at + step)[0] - fit._loss(at - step)[0]) / 2e-6
        assert gradient[number] == pytest.approx(slope, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("noise_model", ["count", "independent", "swap"])
def test_the_posterior_is_nearer_to_the_truth_and_knows_the_rate(data, rate, noise_model):
    image, text, labels = data
    noisy = mixed_symmetric(labels, rate, 3).labels
    posterior = estimate(image, text, noisy, noise_model)
    assert posterior.noise_rate == pytest.approx(rate, abs=0.12)
    assert np.square(posterior.probabilities - labels).mean() < 0.6 * np.square(noisy - 1.0 * labels).mean()
    doubted = posterior.probabilities[(noisy == 1) & (labels == 0)].mean()
    trusted = posterior.probabilities[(noisy == 1) & (labels == 1)].mean()
    assert doubted < trusted - 0.3


def test_clean_labels_stay_and_have_no_noise(data):
    image, text, labels = data
    posterior = estimate(image, text, labels)
    assert posterior.noise_rate < 0.05
    assert np.abs(posterior.probabilities - labels).mean() < 0.01


@pytest.mark.parametrize("make", [additive, subtractive])
def test_separate_rates_clean_labels_that_were_only_added_or_only_dropped(data, make):
    image, text, labels = data
    noisy = make(labels, 0.5, 4).labels
    posterior = estimate(image, text, noisy, "independent", separate_rates=True)
    assert np.square(posterior.probabilities - labels).mean() < np.square(noisy - 1.0 * labels).mean()
    if make is additive:
        assert posterior.add_rate > 0.02 > posterior.drop_rate
    else:
        assert posterior.drop_rate > 0.1 > 3 * posterior.add_rate


def test_the_swap_posterior_is_the_enumeration_of_every_exchange():
    rng = np.random.default_rng(5)
    eta, rate = rng.uniform(0.05, 0.95, (1, 5)), 0.4
    given = np.array([[1, 0, 1, 0, 0]])
    odds = eta[0] / (1 - eta[0])
    weights, truths = [1.0], [given[0]]
    for present in (0, 2):
        for absent in (1, 3, 4):
            truth = given[0].copy()
            truth[present], truth[absent] = 0, 1
            weights.append(odds[absent] / odds[present] * rate / (1 - rate) / 6)
            truths.append(truth)
    expected = np.average(truths, axis=0, weights=weights)
    np.testing.assert_allclose(swap(eta, given, rate)[0], expected, rtol=1e-12)


def test_a_posterior_is_saved_and_damage_is_refused(data, tmp_path):
    posterior = estimate(*data)
    posterior.save(tmp_path / "posterior.npz")
    loaded = LabelPosterior.load(tmp_path / "posterior.npz")
    np.testing.assert_array_equal(loaded.probabilities, posterior.probabilities)
    assert (loaded.noise_rate, loaded.ridge) == (posterior.noise_rate, posterior.ridge)
    (tmp_path / "posterior.npz").write_bytes((tmp_path / "posterior.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"posterior\.npz: expected a file of LabelPosterior\.save"):
        LabelPosterior.load(tmp_path / "posterior.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((3, 4))}, "image must have 400 rows"),
        ({"text": -np.ones((400, 3)), "text_kind": "words"}, "text must be >= 0; row 0 .* text_kind"),
        ({"image": np.full((400, 3), np.nan)}, "image must be finite"),
        ({"labels": np.full((400, 3), 2)}, "labels must hold only 0 and 1"),
        ({"noise_model": "both"}, "noise_model must be one of"),
        ({"noise_model": "swap", "separate_rates": True}, "separate_rates goes with"),
    ],
)
def test_bad_arguments_are_named(data, change, message):
    image, text, labels = data
    with pytest.raises(ValueError, match=message):
        estimate(**{"image": image, "text": text, "labels": labels, **change})


def dense_data(data):
    """The pairs with texts as signed dense features in place of counts."""
    image, _, labels = data
    rng = np.random.default_rng(5)
    text = labels @ rng.standard_normal((10, 24)) + 0.5 * rng.standard_normal((400, 24))
    return image, text.astype("float32"), labels


def test_dense_signed_text_is_treated_as_images_are(data):
    image, text, labels = dense_data(data)
    noisy = mixed_symmetric(labels, 0.5, 3).labels
    posterior = estimate(image, text, noisy)
    assert posterior.text_kind == "dense"
    assert np.square(posterior.probabilities - labels).mean() < 0.6 * np.square(noisy - 1.0 * labels).mean()
    # what is done to one modality is done to the other: their sum of kernels knows no order
    swapped, _ = leave_one_out(text, image, noisy)
    np.testing.assert_allclose(swapped, posterior.scores, atol=1e-4)


def test_the_kind_of_text_follows_from_its_values_unless_it_is_given(data, tmp_path):
    image, counts, labels = data
    words, dense = estimate(image, counts, labels), estimate(image, counts, labels, text_kind="dense")
    assert (words.text_kind, dense.text_kind) == ("words", "dense")
    assert not np.array_equal(words.scores, dense.scores)
    dense.save(tmp_path / "posterior.npz")
    assert LabelPosterior.load(tmp_path / "posterior.npz").text_kind == "dense"


def test_a_value_below_0_among_words_is_named(data):
    image, text, labels = data
    text = text.copy()
    text[7, 3] = -1
    with pytest.raises(ValueError, match=r"text must be >= 0; row 7 holds -1\.0\. .*text_kind='dense'"):
        estimate(image, text, labels, text_kind="words")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((400, 3)), "text": np.zeros((400, 2))}, "image and text must tell samples apart"),
        ({"image": np.zeros((400, 0))}, "image must have at least one column"),
        ({"text": np.zeros((400, 0))}, "text must have at least one column"),
        ({"image": np.full((400, 3), 1e300)}, "image must be finite as float32; row 0"),
        ({"labels": np.zeros((0, 3))}, "labels must not be empty"),
        ({"block_size": 0}, "block_size must be an int of at least 1; got 0"),
        ({"block_size": -5}, "block_size must be an int of at least 1"),
        ({"block_size": 64.0}, "block_size must be an int of at least 1"),
        ({"block_size": True}, "block_size must be an int of at least 1"),
        ({"separate_rates": True}, "separate_rates goes with"),
        ({"separate_rates": "no"}, "separate_rates must be True or False"),
        ({"text_kind": "bert"}, "text_kind must be one of 'words', 'dense', or None"),
    ],
)
def test_what_makes_no_sense_is_named(data, change, message):
    image, text, labels = data
    with pytest.raises(ValueError, match=message):
        estimate(**{"image": image, "text": text, "labels": labels, **change})


@pytest.mark.filterwarnings("error")
def test_labels_without_a_single_one_bring_a_warning(data):
    image, text, labels = data
    with pytest.warns(UserWarning, match="labels hold no label at all"):
        posterior = estimate(image, text, 0 * labels)
    assert np.isfinite(posterior.probabilities).all()
    assert posterior.probabilities.max() < 0.05


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("noise_model", ["count", "independent", "swap"])
def test_a_single_class_and_a_constant_modality_are_no_error(data, noise_model):
    image, text, labels = data
    posterior = estimate(image, 0 * text, labels[:, :1], noise_model)
    assert np.isfinite(posterior.probabilities).all()
    assert ((posterior.probabilities >= 0) & (posterior.probabilities <= 1)).all()


@pytest.mark.parametrize("constant", ["image", "text"])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_modality_that_is_the_same_in_all_rows_leaves_the_other_to_speak(data, constant, value):
    image, text, labels = data
    noisy = mixed_symmetric(labels, 0.3, 0).labels
    sides = {"image": image, "text": text, constant: np.full((len(noisy), 1), value, "float32")}
    found = estimate(**sides, labels=noisy)
    before, after = (np.square(p - labels).mean() for p in (noisy.astype(float), found.probabilities))
    assert after < 0.9 * before
    assert found.noise_rate < 0.7
