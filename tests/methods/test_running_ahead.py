"""On an accelerator `fit` hands out the logs of the batch before; all else is as it would be."""

import keras
import numpy as np
import pytest

from scbch_keras import backend

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="JAX' own; PyTorch's needs a CUDA card"
)


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.batches, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def trained(small_model, pairs, ahead, patch):
    keras.utils.set_random_seed(1)
    model, losses = small_model(confidence_weighting=False), Losses()
    patch.setattr(backend._module, "has_accelerator", lambda: ahead)
    model.fit(*pairs, batch_size=60, epochs=2, verbose=0, callbacks=[losses])
    return model, losses


def test_logs_of_a_batch_lag_and_those_of_an_epoch_do_not(small_model, pairs, monkeypatch):
    (_, expected), (model, losses) = (
        trained(small_model, pairs, ahead, monkeypatch) for ahead in (False, True)
    )
    assert losses.epochs == expected.epochs
    assert losses.batches == [expected.batches[0], *expected.batches[:-1]]
    before = model.get_weights()
    loss = model.test_on_batch(*pairs, return_dict=True)["loss"]
    # Outside of `fit` nothing lags.
    steps = [model.train_on_batch(*pairs, return_dict=True)["loss"] for _ in range(2)]
    assert steps[0] == pytest.approx(loss, rel=1e-5) or steps[0] != steps[1]
    assert any((one != other).any() for one, other in zip(before, model.get_weights(), strict=True))


def test_after_an_error_nothing_lags(small_model, pairs, monkeypatch):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    monkeypatch.setattr(backend._module, "has_accelerator", lambda: True)
    model = small_model(confidence_weighting=False)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*pairs, batch_size=60, epochs=1, verbose=0, callbacks=[Stop()])
    assert not hasattr(model.train_function, "step")
    model.reset_metrics()
    np.testing.assert_allclose(model.train_on_batch(*pairs, return_dict=True)["skipped"], 0)
