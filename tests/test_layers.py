import keras
import numpy as np
import pytest
from keras import ops

import scbch_keras as sk
from scbch_keras.labels.scores import Features
from tests.methods import QUICKLY


def rows(n=5, d=12):
    return np.random.default_rng(0).standard_normal((n, d)).astype("float32")


def pictures():
    return rows(5, 16).reshape(5, 4, 4, 1)


def body():
    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(7, "relu")])


@pytest.mark.parametrize(
    ("layer", "inputs", "shape", "dtype"),
    [
        (lambda **k: sk.HashBranch(10, (6, 6), **k), rows(), (5, 10), "float32"),
        (lambda **k: sk.HashBranch(10, (), **k), rows(), (5, 10), "float32"),
        (
            lambda **k: sk.HashBranch(10, body=body(), **k),
            pictures(),
            (5, 10),
            "float32",
        ),
        (lambda **k: sk.ConceptClassifier(3, **k), rows(), (5, 3), "float32"),
        (lambda **k: sk.PackBits(**k), rows(5, 12), (5, 2), "uint8"),
    ],
    ids=["dense", "hash layer alone", "body", "classifier", "pack"],
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_layer_keeps_keras_contract(layer, inputs, shape, dtype, policy):
    layer = layer(dtype=policy)
    outputs = layer(inputs)
    assert tuple(outputs.shape) == shape
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    symbolic = layer(keras.KerasTensor((None, *inputs.shape[1:])))
    assert (symbolic.shape, symbolic.dtype) == ((None, *shape[1:]), dtype)
    assert layer.compute_output_shape(inputs.shape) == shape
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again(inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(ops.convert_to_numpy(again(inputs)), ops.convert_to_numpy(outputs))


def test_codes_have_unit_norm_unless_switched_off():
    codes = ops.convert_to_numpy(sk.HashBranch(10, (6,))(rows()))
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, rtol=1e-5)
    plain = ops.convert_to_numpy(sk.HashBranch(10, (6,), normalize=False)(rows()))
    assert not np.allclose(np.linalg.norm(plain, axis=1), 1, rtol=1e-2)
    assert np.abs(plain).max() < 1


def test_dense_layers_start_as_pytorchs_do():
    branch = sk.HashBranch(200, (300,))
    branch(rows(2, 100))
    for layer, fan_in in ((branch.hidden[0], 100), (branch.hash_layer, 300)):
        for weight in layer.get_weights():
            limit = fan_in**-0.5
            assert np.abs(weight).max() <= limit
            assert np.abs(weight).max() > 0.95 * limit
            assert np.std(weight) == pytest.approx(limit / 3**0.5, rel=0.15)


def test_the_classifier_starts_orthogonal_and_has_no_bias():
    classifier = sk.ConceptClassifier(4)
    classifier(rows())
    (kernel,) = classifier.get_weights()
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(4), atol=1e-5)


@pytest.mark.parametrize("bits", [1, 7, 8, 20, 64])
def test_packed_bits_are_numpys(bits):
    codes = rows(9, bits)
    codes[0] = 0.0
    codes[1] = -0.0
    np.testing.assert_array_equal(
        ops.convert_to_numpy(sk.PackBits()(codes)), np.packbits(codes > 0, axis=1), strict=True
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 0}, "bits must be an int of at least 1; got 0"),
        ({"bits": 8.0}, "bits must be an int"),
        ({"units": (8, -1)}, "units must be a sequence of ints of at least 1; got"),
        ({"body": "resnet"}, "body must be a keras.Model"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        sk.HashBranch(**arguments)


def adapted(kind, features):
    layer = sk.FeatureRows(kind)
    layer.adapt(features)
    return layer


@pytest.mark.parametrize("kind", ["dense", "words"])
def test_feature_rows_are_those_of_the_posterior(kind):
    rng = np.random.default_rng(1)
    features = rng.poisson(1.0, (30, 9)) if kind == "words" else rng.standard_normal((30, 9))
    features = features.astype("float32")
    modality, other = ("text", "image") if kind == "words" else ("image", "text")
    arrays = {modality: features, other: np.ones((30, 2), "float32")}
    regression = Features(**arrays, item=np.arange(30), block_size=7, text_kind="words")
    expected = np.concatenate([block for _, block in regression.blocks((modality,))])
    values = ops.convert_to_numpy(adapted(kind, features)(features))
    np.testing.assert_allclose(values, 16 * expected, atol=1e-5)


def test_a_branch_of_feature_rows_is_saved_with_them(pairs, tmp_path):
    x, labels = pairs
    branches = {
        f"{name}_branch": sk.HashBranch(20, (8,), rows=adapted("dense", x[name]))
        for name in ("image", "text")
    }
    model = sk.SCBCH(20, 8, **branches, neighbors=3)
    model.compile(keras.optimizers.Adam(1e-3), **QUICKLY)
    model.fit(x, labels, epochs=1, batch_size=80, verbose=0)
    before = ops.convert_to_numpy(model.image_branch.rows.statistics)
    np.testing.assert_allclose(
        before, (np.sign(x["image"]) * np.abs(x["image"]) ** 0.5).mean(axis=0), atol=1e-5
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for side in ("image", "text"):
        codes = [getattr(m, f"encode_{side}")(x[side], packed=False, verbose=0) for m in (model, loaded)]
        np.testing.assert_array_equal(*codes)


def test_feature_rows_that_cannot_be_used_are_refused():
    with pytest.raises(ValueError, match="was not adapted: call its adapt"):
        sk.HashBranch(8, (4,), rows=sk.FeatureRows("dense"))(rows())
    with pytest.raises(ValueError, match=r"features must have shape \(n, 12\); got \(5, 13\)"):
        adapted("dense", rows()).adapt(rows(5, 13))
    with pytest.raises(ValueError, match=r"hash_branch must have shape \(n, 12\)"):
        sk.HashBranch(8, (4,), rows=adapted("dense", rows()), name="hash_branch")(rows(5, 13))
    with pytest.raises(ValueError, match="features"):
        adapted("words", rows())
    with pytest.raises(ValueError, match="kind must be one of"):
        sk.FeatureRows("pixels")
    with pytest.raises(ValueError, match="scale must be"):
        sk.FeatureRows("words", 0)
    with pytest.raises(ValueError, match="rows must be a FeatureRows layer, without a body; got Dense"):
        sk.HashBranch(8, rows=keras.layers.Dense(3))
    with pytest.raises(ValueError, match="and a body"):
        sk.HashBranch(8, body=body(), rows=sk.FeatureRows("dense"))


def test_a_body_needs_one_flat_output():
    two = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(ValueError, match=r"body must have one output of shape \(n, d\)"):
        sk.HashBranch(8, body=two)(pictures())
    with pytest.raises(ValueError, match=r"takes features of shape \(n, d\)"):
        sk.HashBranch(8)(pictures())
