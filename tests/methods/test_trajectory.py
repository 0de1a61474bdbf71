"""A whole training of the authors' code, replayed from its initial weights in its batch order."""

import keras
import numpy as np
import pytest
from keras import ops

import scbch_keras as sk
from scbch_keras.backend import JIT

pytestmark = pytest.mark.onednn
optimised = pytest.mark.optimised


class PyTorchAdam(keras.optimizers.Adam):
    """Adam with epsilon where PyTorch has it: added to sqrt(v) / sqrt(1 - beta_2^t)."""

    def update_step(self, gradient, variable, learning_rate):
        step = ops.cast(self.iterations + 1, variable.dtype)
        correction = 1 - ops.power(ops.cast(self.beta_2, variable.dtype), step)
        keras_epsilon, self.epsilon = self.epsilon, self.epsilon * ops.sqrt(correction)
        super().update_step(gradient, variable, learning_rate)
        self.epsilon = keras_epsilon

    def _backend_update_step(self, gradients, variables, learning_rate):
        # one variable at a time on every backend, also where Keras has a parallel update
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, learning_rate)


class RecordedOrder(sk.PairDataset):
    """The authors' batch order in place of our own."""

    def __init__(self, orders, *args, **kwargs):
        self.orders = orders
        super().__init__(*args, **kwargs)

    def set_epoch(self, epoch):
        self.order = self.orders[epoch]


class Recorder(keras.callbacks.Callback):
    """Single step losses, out of the logs' running means, and the confidence weights of each epoch."""

    def __init__(self):
        super().__init__()
        self.losses, self.confidence = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.confidence.append(ops.convert_to_numpy(self.model.confidence).copy())
        self.total = 0.0

    def on_train_batch_end(self, batch, logs=None):
        total = float(logs["loss"]) * (batch + 1)
        self.losses.append(total - self.total)
        self.total = total


def replay(trajectory, optimizer, **compile_with):
    model = sk.SCBCH(
        16,
        24,
        sk.HashBranch(16, (96, 96)),
        sk.HashBranch(16, (96,)),
        margin=float(trajectory["margin"]),
        shift=float(trajectory["shift"]),
        neighbors=int(trajectory["k"]),
        warmup_epochs=int(trajectory["warmup_epochs"]),
        l2=float(trajectory["weight_decay"]),
    )
    model.build({"image": (None, 48), "text": (None, 200)})
    for modality, branch, classifier in (
        ("image", model.image_branch, "image/W_u"),
        ("text", model.text_branch, "text/W_v"),
    ):
        for i, layer in enumerate([*branch.hidden, branch.hash_layer]):
            start = f"initial/{modality}/fc.{2 * i}."
            layer.set_weights([trajectory[f"{start}weight"].T, trajectory[f"{start}bias"]])
        getattr(model, f"{modality}_classifier").set_weights([trajectory[f"initial/{classifier}"]])
    model.compile(optimizer, **compile_with)
    data = RecordedOrder(
        trajectory["batch_orders"],
        *(trajectory[name] for name in ("image", "text", "labels")),
        batch_size=int(trajectory["batch_size"]),
    )
    recorder = Recorder()
    model.fit(data, epochs=int(trajectory["epochs"]), verbose=0, callbacks=[recorder])
    assert (np.array(recorder.confidence[:2]) == 1).all()
    codes = (
        model.encode_image(trajectory["image"], packed=False, verbose=0),
        model.encode_text(trajectory["text"], packed=False, verbose=0),
    )
    return np.array(recorder.losses), np.array(recorder.confidence[2:]), np.array(codes)


@pytest.mark.parametrize(
    "eager",
    [
        pytest.param(False, id="as compiled", marks=optimised),
        pytest.param(
            True, id="eager", marks=pytest.mark.skipif(not JIT, reason="nothing is compiled on this backend")
        ),
    ],
)
def test_with_pytorchs_adam_every_step_is_the_authors(trajectory, eager):
    optimizer = PyTorchAdam(1e-3, epsilon=1e-8)
    losses, confidence, _ = replay(trajectory, optimizer, run_eagerly=eager)
    np.testing.assert_allclose(losses, trajectory["losses"], rtol=1e-5)
    np.testing.assert_allclose(confidence, trajectory["confidence_weights"], atol=1e-4)


@optimised
def test_with_keras_adam_the_training_is_the_same_but_for_epsilon(trajectory):
    losses, confidence, codes = replay(trajectory, keras.optimizers.Adam(1e-3, epsilon=1e-9))
    np.testing.assert_allclose(losses, trajectory["losses"], rtol=1e-3)
    assert np.abs(confidence - trajectory["confidence_weights"]).mean() <= 2e-3
    golden = np.array([trajectory["final_image_codes"], trajectory["final_text_codes"]])
    assert np.mean((codes > 0) == (golden > 0)) >= 0.995
