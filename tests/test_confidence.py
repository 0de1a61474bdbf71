from pathlib import Path

import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras import backend
from scbch_keras.confidence import confidence_weights


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "golden" / "confidence_weights.npz") as file:
        return dict(file)


@pytest.fixture(autouse=True, params=["processor", "device"])
def place(request, monkeypatch):
    """Both ways to the same weights: in NumPy, and on the backend's device, which here is the processor too."""
    monkeypatch.setattr(backend, "has_accelerator", lambda: request.param == "device")
    return request.param


@pytest.mark.parametrize("block_size", [1, 7, 256, 600, 4096])
def test_weights_are_those_of_the_authors_code(golden, block_size):
    rows = 40 if block_size == 1 else 600  # one row a block is slow; 40 samples say enough
    if rows == 600:
        expected = golden["weights"]
    else:
        expected = by_hand(*(golden[key][:rows] for key in ("image_codes", "text_codes", "labels")))[0]
    result = confidence_weights(
        golden["image_codes"][:rows],
        golden["text_codes"][:rows],
        golden["labels"][:rows],
        block_size=block_size,
    )
    np.testing.assert_allclose(result.weights, expected, atol=1e-5)


@pytest.mark.parametrize("place", ["device"], indirect=True)
def test_neighbours_are_those_of_whole_rows_where_these_are_looked_through_by_groups(golden, monkeypatch):
    codes_and_labels = [golden[key][:500] for key in ("image_codes", "text_codes", "labels")]
    whole = confidence_weights(*codes_and_labels, block_size=300)
    monkeypatch.setattr("scbch_keras.confidence._SORTED", 100)
    groups = confidence_weights(*codes_and_labels, block_size=300)
    np.testing.assert_allclose(groups.weights, whole.weights, atol=1e-6)
    np.testing.assert_allclose(groups.soft_labels, whole.soft_labels, atol=1e-6)


def by_hand(image, text, labels, k=20, gamma=0.5, dialect="reference"):
    sims = [
        (c @ c.T) / np.outer(*[np.linalg.norm(c, axis=1)] * 2)
        for c in (image.astype("float64"), text.astype("float64"))
    ]
    mean = (sims[0] + sims[1]) / 2
    np.fill_diagonal(mean, 0)
    weights, soft_labels = [], []
    for i in range(len(labels)):
        near = np.argsort(-mean[i], kind="stable")[:k]
        if dialect == "reference":
            soft = mean[i, near] @ labels[near] / (mean[i, near].sum() + 1e-8)
        else:
            soft = sum(sim[i, near] @ labels[near] / (sim[i, near].sum() + 1e-8) for sim in sims) / 2
        norms = np.linalg.norm(labels[i]) * np.linalg.norm(soft)
        weights.append(gamma + (1 - gamma) * (labels[i] @ soft / norms if norms else 0.0))
        soft_labels.append(soft)
    return np.array(weights), np.array(soft_labels)


@pytest.mark.parametrize("dialect", ["reference", "paper"])
def test_both_dialects_by_hand(golden, dialect):
    inputs = [golden[key][:80] for key in ("image_codes", "text_codes", "labels")]
    weights, soft_labels = by_hand(*inputs, k=5, gamma=0.3, dialect=dialect)
    result = confidence_weights(*inputs, neighbors=5, gamma=0.3, dialect=dialect)
    np.testing.assert_allclose(result.weights, weights, atol=1e-5)
    np.testing.assert_allclose(result.soft_labels, soft_labels, atol=1e-4)


def test_codes_need_no_unit_norm(golden):
    inputs = [golden[key][:80] for key in ("image_codes", "text_codes", "labels")]
    scaled = confidence_weights(3 * inputs[0], 0.2 * inputs[1], inputs[2], neighbors=5)
    np.testing.assert_allclose(scaled.weights, confidence_weights(*inputs, neighbors=5).weights, atol=1e-5)


def test_a_sample_without_labels_has_the_lowest_weight(golden):
    labels = golden["labels"][:80].copy()
    labels[3] = 0
    result = confidence_weights(golden["image_codes"][:80], golden["text_codes"][:80], labels, neighbors=5)
    assert result.weights[3] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbors": 80}, "neighbors=80 needs at least 81 training samples; got 80"),
        ({"neighbors": 0}, "neighbors must be an int of at least 1"),
        ({"gamma": 1.5}, "gamma must be a number in"),
        ({"dialect": "code"}, "dialect must be one of"),
        ({"block_size": 0}, "block_size must be"),
        ({"text_codes": np.ones((79, 32))}, r"text_codes must be \(80, bits\)"),
        ({"labels": np.full((80, 24), 0.5)}, "labels must hold only 0 and 1"),
    ],
)
def test_bad_arguments_are_named(golden, change, message):
    inputs = {key: golden[key][:80] for key in ("image_codes", "text_codes", "labels")}
    with pytest.raises(ValueError, match=message):
        confidence_weights(**{**inputs, **change})


def test_a_model_searches_more_samples_than_it_may_exactly_by_clusters_and_the_log_says_so(
    golden, place, caplog
):
    pytest.importorskip("faiss")
    codes, labels = (golden["image_codes"], golden["text_codes"]), golden["labels"]
    model = sk.SCBCH(codes[0].shape[1], num_classes=labels.shape[1])
    exact = model.weights_of(labels, *codes)
    assert not caplog.records
    model.exact_up_to = 100
    rough = model.weights_of(labels, *codes)
    assert ("searched by clusters" in caplog.text) == (place == "processor")
    assert np.corrcoef(exact, rough)[0, 1] > 0.95
    with pytest.raises(ValueError, match="exact_up_to must be an int of at least 0"):
        confidence_weights(*codes, labels, exact_up_to=-1)
