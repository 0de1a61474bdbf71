"""Steps that PyTorch replays as CUDA graphs: those of a step that runs as it is written, bit for bit. Needs a card."""

import logging

import keras
import numpy as np
import pytest

import scbch_keras as sk
from scbch_keras import backend
from tests.methods import BASELINES

if keras.backend.backend() != "torch" or not backend.has_accelerator():
    pytest.skip("PyTorch on a CUDA card alone records steps", allow_module_level=True)

from scbch_keras.backend import torch_graph


def normalized():
    return keras.Sequential([keras.Input((20,)), keras.layers.Dense(16), keras.layers.BatchNormalization()])


def dropping():
    return keras.Sequential([keras.Input((20,)), keras.layers.Dense(16), keras.layers.Dropout(0.1)])


def trained(pairs, monkeypatch, replayed, make, optimizer, **settings):
    replays = []
    with monkeypatch.context() as patch:
        if replayed:
            replay = torch_graph._Graph.__call__
            patch.setattr(
                torch_graph._Graph,
                "__call__",
                lambda graph, leaves: replays.append(1) or replay(graph, leaves),
            )
        else:
            patch.setattr(torch_graph, "run", lambda model, data, step: step(model, data))
        keras.utils.set_random_seed(0)
        model = make()
        model.compile(optimizer())
        history = model.fit(*pairs, batch_size=64, epochs=4, verbose=0, **settings).history
    return model, history, len(replays)


def scbch(**settings):
    return sk.SCBCH(20, 8, **{"text_branch": sk.HashBranch(20, (16,)), "neighbors": 10, **settings})


def plain():
    return scbch(image_branch=sk.HashBranch(20, (16,)))


class Alpha(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        self.model.alpha = 0.7 if batch % 2 else 0.5


def decaying():
    return keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(1e-3, 3, 0.9))


@pytest.mark.parametrize(
    ("make", "optimizer", "settings"),
    [
        (plain, keras.optimizers.Adam, {}),
        (plain, decaying, {}),
        (plain, keras.optimizers.Adam, {"callbacks": [Alpha()]}),
        (lambda: scbch(image_branch=normalized()), keras.optimizers.Adam, {}),
        (lambda: scbch(image_branch=dropping()), keras.optimizers.Adam, {}),
        (lambda: BASELINES["nrch"](20, 8), keras.optimizers.Adam, {}),
    ],
)
def test_replayed_steps_train_the_same_weights(pairs, monkeypatch, make, optimizer, settings):
    (one, logs, replays), (other, expected, _) = (
        trained(pairs, monkeypatch, replayed, make, optimizer, **settings) for replayed in (True, False)
    )
    assert replays
    assert logs == expected
    for replayed, as_written in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(replayed, as_written)


def test_what_cannot_be_recorded_runs_as_it_is_written(pairs, monkeypatch, caplog):
    class Waiting(sk.SCBCH):
        def objective(self, *args):
            terms = super().objective(*args)
            float(terms["quantization"][1])
            return terms

    def make():
        return Waiting(20, 8, sk.HashBranch(20, (16,)), sk.HashBranch(20, (16,)), neighbors=10)

    with caplog.at_level(logging.INFO, "scbch_keras.backend.torch_graph"):
        _, logs, replays = trained(pairs, monkeypatch, True, make, keras.optimizers.Adam)
    assert not replays
    assert "cannot be recorded" in caplog.text
    assert np.isfinite(logs["loss"]).all()
