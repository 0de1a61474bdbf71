import functools

import keras
import numpy as np
import pytest
from keras import ops

from scbch_keras import losses

CASES = [
    f"{name}/{size}"
    for name in ("mirflickr", "nus-wide", "ms-coco", "iapr-tc12")
    for size in ("16x16", "128x64")
]
INPUTS = ("image_codes", "text_codes", "image_classifier", "text_classifier")


def objective(inputs, labels, settings, weights):
    image, text, image_classifier, text_classifier = inputs
    margin, shift, alpha, beta = settings
    similarity = losses.label_similarity(labels)
    contrast = losses.attraction(image, text, similarity, shift) + losses.repulsion(
        image, text, similarity, margin, shift
    )
    quantization = losses.quantization(image, text)
    classification = losses.classification(
        labels, ops.matmul(image, image_classifier), ops.matmul(text, text_classifier), weights
    )
    return alpha * contrast + beta * quantization + classification, (contrast, quantization, classification)


@functools.cache
def value_and_gradients(jit):
    """The objective with its gradients, by the session's backend; compiled once a shape."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        run = jax.value_and_grad(objective, has_aux=True)
        return jax.jit(run) if jit else run
    if backend == "tensorflow":
        import tensorflow as tf

        def run(inputs, *others):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value, parts = objective(inputs, *others)
            return (value, parts), tape.gradient(value, inputs)

        return tf.function(run, jit_compile=True) if jit else run
    import torch

    forward = torch.compile(objective, backend="aot_eager") if jit else objective

    def run(inputs, *others):
        inputs = [x.clone().requires_grad_() for x in inputs]
        value, parts = forward(inputs, *others)
        return (value, parts), torch.autograd.grad(value, inputs)

    return run


# torch.compile warns of what it does not trace into; the numbers are what is tested.
@pytest.mark.filterwarnings("ignore:.*Dynamo:UserWarning", "ignore:.*dynamo:UserWarning")
@pytest.mark.parametrize("phase", ["warmup", "weighted"])
@pytest.mark.parametrize(
    ("case", "jit"),
    [
        *[pytest.param(case, False, id=f"{case}-eager") for case in CASES],
        # The data sets differ in numbers alone, which the compiled objective is given.
        *[pytest.param(case, True, id=f"{case}-jitted", marks=pytest.mark.slow) for case in CASES[:2]],
    ],
)
def test_values_and_gradients_are_those_of_the_authors_code(losses_golden, case, phase, jit):
    def part(name):
        start = f"{case}/{name}/"
        return {key[len(start) :]: value for key, value in losses_golden.items() if key.startswith(start)}

    given, expected = part("in"), part(phase)
    weights = given["weights"] if phase == "weighted" else np.ones_like(given["weights"])
    settings = [np.float32(given[name]) for name in ("margin", "shift", "alpha", "beta")]
    arrays = [[given[name] for name in INPUTS], given["labels"].astype("float32"), settings, weights]
    (value, parts), grads = value_and_gradients(jit)(*keras.tree.map_structure(ops.convert_to_tensor, arrays))
    names = ("total", "contrast", "quantization", "classification")
    for name, number in zip(names, (value, *parts), strict=True):
        assert float(ops.convert_to_numpy(number)) == pytest.approx(float(expected[name]), rel=1e-5), name
    for name, grad in zip(INPUTS, grads, strict=True):
        golden = expected[f"grad_{name}"]
        assert np.linalg.norm(ops.convert_to_numpy(grad) - golden) <= 1e-4 * np.linalg.norm(golden), name


def test_label_similarity_is_jaccard(losses_golden):
    labels = losses_golden["mirflickr/16x16/in/labels"]
    similarity = ops.convert_to_numpy(losses.label_similarity(labels))
    np.testing.assert_allclose(similarity, losses_golden["mirflickr/16x16/in/jaccard"], atol=1e-6)
    by_hand = ops.convert_to_numpy(losses.label_similarity(np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]])))
    np.testing.assert_allclose(by_hand, [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]], atol=1e-7)


@pytest.fixture(scope="module")
def four():
    """Four samples, the last without a label, with codes of 6 bits that are no special case."""
    rng = np.random.default_rng(4)
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
    codes = [rng.uniform(-1, 1, (4, 6)).astype("float32") for _ in range(2)]
    codes = [code / np.linalg.norm(code, axis=1, keepdims=True) for code in codes]
    weight = np.array([1.0, 0.5, 2.0, 0.25])
    return codes, labels, weight


def jaccard(a, b):
    union = np.sum((a + b) > 0)
    return np.sum(a * b) / union if union else 0.0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dialect", ["reference", "paper"])
def test_pairs_enumerated_by_hand(four, dialect, weighted):
    (image, text), labels, weight = four
    weight = weight if weighted else np.ones(4)
    margin, shift, n = 0.15, 0.8, 4
    attraction = repulsion = 0.0
    for i in range(n):
        attraction -= weight[i] * image[i] @ text[i] / n
        for j in range(n):
            similarity, score = jaccard(labels[i], labels[j]), float(image[i] @ text[j])
            if i != j and similarity > 0:
                attraction += weight[i] * weight[j] * np.exp(shift - score) / n**2
            for anchor in (i, j):
                threshold = float(image[anchor] @ text[anchor]) - margin
                if dialect == "reference":
                    negative = score if score >= threshold else score - shift
                    if i == j:
                        negative = max(negative, 0.0)
                    factor = 1 / n**2
                else:
                    negative = score - shift * max(0.0, threshold - score)
                    factor = 0.0 if i == j else 1 / (2 * n**2)
                repulsion += factor * weight[i] * weight[j] * np.exp(negative * (1 - similarity))
    sample_weight = weight if weighted else None
    r = losses.label_similarity(labels)
    assert float(losses.attraction(image, text, r, shift, sample_weight)) == pytest.approx(
        attraction, rel=1e-5
    )
    ours = losses.repulsion(image, text, r, margin, shift, dialect, sample_weight)
    assert float(ours) == pytest.approx(repulsion, rel=1e-5)


def test_classification_and_quantization_by_hand(four):
    (image, text), labels, weight = four
    logits = [5 * code[:, :3] for code in (image, text)]
    entropy = quantization = 0.0
    for code, logit in zip((image, text), logits, strict=True):
        z = 1 / (1 + np.exp(-logit.astype("float64")))
        entropy += np.sum(weight[:, None] * -(labels * np.log(z) + (1 - labels) * np.log(1 - z))) / (
            2 * 4 * 3
        )
        quantization += np.mean(weight[:, None] * np.abs(np.abs(code) - 1))
    assert float(losses.classification(labels, *logits, weight)) == pytest.approx(entropy, rel=1e-5)
    assert float(losses.quantization(image, text, weight)) == pytest.approx(quantization, rel=1e-5)


def test_a_sample_of_weight_zero_changes_nothing(four):
    (image, text), labels, _ = four
    weight = np.array([1.0, 1.0, 0.0, 1.0])
    other = [np.array(code) for code in (image, text)]
    for code in other:
        code[2] = -code[2]
    r = losses.label_similarity(labels)
    for term in (
        lambda image, text: losses.attraction(image, text, r, 0.8, weight),
        lambda image, text: losses.repulsion(image, text, r, 0.15, 0.8, "reference", weight),
        lambda image, text: losses.quantization(image, text, weight),
    ):
        assert float(term(image, text)) == pytest.approx(float(term(*other)), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.Attraction(0.7), lambda i, t, r: losses.attraction(i, t, r, 0.7)),
        (losses.Repulsion(0.1, 0.7, "paper"), lambda i, t, r: losses.repulsion(i, t, r, 0.1, 0.7, "paper")),
        (losses.Quantization(), lambda i, t, r: losses.quantization(i, t)),
    ],
)
def test_loss_classes_are_the_functions_and_serialize(four, loss, expected):
    (image, text), labels, _ = four
    stacked = np.stack([image, text], axis=1)
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    value = float(expected(image, text, losses.label_similarity(labels)))
    assert float(loss(labels, stacked)) == pytest.approx(value, rel=1e-6)


def test_classification_class_is_the_function(four):
    (image, text), labels, weight = four
    value = float(losses.classification(labels, image[:, :3], text[:, :3], weight))
    stacked = np.stack([image[:, :3], text[:, :3]], axis=1)
    assert float(losses.Classification()(labels, stacked, weight)) == pytest.approx(value, rel=1e-6)


def test_bad_arguments_are_named(four):
    (image, text), labels, _ = four
    with pytest.raises(ValueError, match=r"dialect must be one of .* got 'printed'"):
        losses.repulsion(image, text, losses.label_similarity(labels), 0.1, 0.8, "printed")
    with pytest.raises(ValueError, match=r"y_pred of shape \(n, 2, d\)"):
        losses.Quantization()(labels, image)


def test_soft_labels_by_enumeration():
    rng = np.random.default_rng(3)
    p, codes = rng.random((5, 4)).astype("float32"), rng.standard_normal((5, 8)).astype("float32")
    relations = losses.soft_label_similarity(p), losses.sharing_probability(p)
    similarity, sharing = map(ops.convert_to_numpy, relations)
    push, pull, shift = [], [], 0.8
    for i in range(5):
        for j in range(5):
            union = sum(max(p[i, c], p[j, c]) for c in range(4))
            assert similarity[i, j] == pytest.approx(
                sum(min(p[i, c], p[j, c]) for c in range(4)) / union, rel=1e-5
            )
            assert sharing[i, j] == pytest.approx(
                1 - np.prod([1 - p[i, c] * p[j, c] for c in range(4)]), rel=1e-5
            )
            score = float(codes[i] @ codes[j])
            push.append(np.exp((score - shift) * (1 - similarity[i, j])))
            pull.append((i != j) * sharing[i, j] * np.exp(shift - score))
    expected = (np.mean(push) + np.mean(pull)) / 2
    assert float(losses.intra_modal(codes, *relations, shift)) == pytest.approx(expected, rel=1e-4)


def test_certain_labels_are_the_paper_s():
    labels = (np.random.default_rng(4).random((12, 6)) < 0.4).astype("float32")
    hard = ops.convert_to_numpy(losses.label_similarity(labels))
    np.testing.assert_allclose(ops.convert_to_numpy(losses.soft_label_similarity(labels)), hard, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(losses.sharing_probability(labels)), hard > 0, atol=1e-6)
