"""PyTorch's fused kernel against Keras' own Adam: the same weights and the same state."""

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras import backend

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's own")


def by_keras(patch):
    patch.setattr(backend._module, "_is_plain_adam", lambda *_: False)


def without_waiting(patch):
    """The step that a CUDA graph records, run as it is written."""
    patch.setattr(backend, "train_step", backend._module._step_without_waiting)


def trained(pairs, change, monkeypatch):
    keras.utils.set_random_seed(0)
    model = sk.SCBCH(20, 8, sk.HashBranch(20, (16,)), sk.HashBranch(20, (16,)), neighbors=10)
    model.compile(keras.optimizers.Adam(1e-3))
    with monkeypatch.context() as patch:
        change(patch)
        model.fit(*pairs, epochs=2, batch_size=64, verbose=0)
    return model


@pytest.mark.parametrize("change", [lambda patch: None, without_waiting])
def test_weights_and_moments_are_those_of_keras(pairs, monkeypatch, change):
    models = [trained(pairs, each, monkeypatch) for each in (change, by_keras)]
    # The classifiers' weights come by columns.
    assert any(not weight.value.is_contiguous() for weight in models[0].trainable_weights)
    for states in zip(*(model.optimizer.variables for model in models), strict=True):
        fused, kerass = map(keras.ops.convert_to_numpy, states)
        np.testing.assert_allclose(fused, kerass, rtol=1e-4, atol=2e-6, err_msg=states[0].path)
    for fused, kerass in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(fused, kerass, rtol=1e-4, atol=1e-6)


def test_what_torch_compiles_has_the_update_of_keras(pairs, monkeypatch):
    import torch

    optimizer = trained(pairs, lambda patch: None, monkeypatch).optimizer

    def is_fused():
        return backend._module._is_plain_adam(optimizer, [])

    assert is_fused()
    assert not torch.compile(is_fused, backend="eager")()


def test_a_step_without_waiting_skips_what_is_not_finite(small_model, pairs, monkeypatch):
    without_waiting(monkeypatch)
    model = small_model(confidence_weighting=False)
    x, labels = pairs
    model.fit(x, labels, epochs=1, verbose=0)
    model.reset_metrics()
    before, state = model.get_weights(), [np.array(one) for one in model.optimizer.variables]
    bad = {**x, "image": x["image"].copy(), "index": np.arange(len(labels), dtype="int32")}
    bad["image"][[5, 9], 0] = np.nan
    logs = model.train_on_batch(bad, labels, return_dict=True)
    assert logs["skipped"] == 1
    assert model._skipped.describe_samples() == "2 samples (index 5, 9)"
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(state, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, np.array(other))
