"""Several devices or processes: trained where it works, refused before the first step where it does not."""

import json
import os
import subprocess
import sys
from functools import partial

import keras
import pytest

BACKEND = keras.backend.backend()

# In a process of its own: Keras would import TensorFlow on any backend, for seconds, to seed it.
ALONE = """
import os, sys
if os.environ["KERAS_BACKEND"] != "tensorflow":
    sys.modules["tensorflow"] = None
"""
MODEL = """
import os, sys, keras, numpy as np, scbch_keras as sk
rng = np.random.default_rng(0)
def data(n):
    x = {"image": rng.random((n, 6)).astype("float32"), "text": rng.random((n, 5)).astype("float32")}
    return x, (rng.random((n, 3)) < 0.5).astype("uint8")
steps = []
class Count(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        steps.append(batch)
def model(**settings):
    keras.utils.set_random_seed(0)
    branches = sk.HashBranch(16, (8,)), sk.HashBranch(16, (8,))
    made = sk.SCBCH(16, 3, *branches, **{"neighbors": 3, "warmup_epochs": 1, **settings})
    made.compile(keras.optimizers.Adam(1e-3), run_eagerly=keras.backend.backend() == "tensorflow")
    return made
def fit(made, n=40, batch_size=20, **arguments):
    return made.fit(*data(n), batch_size=batch_size, epochs=2, verbose=0, callbacks=[Count()], **arguments)
"""
REFUSED = """
try:
    fit({model})
except RuntimeError as error:
    assert not steps, "the first step was made"
    print(error)
else:
    sys.exit("trained")
"""


def run(code, start=subprocess.run, **environment):
    command = [sys.executable, "-c", ALONE + MODEL + code]
    done = start(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CLUSTER = {"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "2", "RANK": "0"},
        {"WORLD_SIZE": "8", "LOCAL_RANK": "3"},
        {"TF_CONFIG": json.dumps(CLUSTER)},
    ],
    ids=["torchrun", "another rank", "a cluster of TensorFlow"],
)
def test_a_process_of_several_is_refused(environment, ready_model, pairs, monkeypatch):
    if BACKEND == "torch" and "WORLD_SIZE" in environment:
        pytest.skip("PyTorch joins them: test_processes.py")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=r"one of [28] processes .* What works: one process"):
        ready_model().fit(*pairs, epochs=1, verbose=0)


@pytest.mark.parametrize(
    "environment",
    [
        {"WORLD_SIZE": "1"},
        {"WORLD_SIZE": ""},
        {"TF_CONFIG": "{}"},
        {"TF_CONFIG": "not JSON"},
        {"TF_CONFIG": "[]"},
        {"TF_CONFIG": json.dumps({"cluster": {"chief": ["a:1"], "ps": ["b:1"]}})},
    ],
)
def test_one_process_trains_whatever_launched_it(environment, ready_model, pairs, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ready_model().fit(*pairs, epochs=0, verbose=0)


STRATEGIES = ("MirroredStrategy(['/cpu:0', '/cpu:1'])", "OneDeviceStrategy('/cpu:0')")
WHERE = ("made", "fitted", "both")


@pytest.fixture(scope="module")
def said_to_strategies(having_imported):
    """What is said to a model that is made or fitted under a strategy, all of them in one process."""
    code = "import contextlib, tensorflow as tf\n"
    code += "tf.config.set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0], "
    code += "[tf.config.LogicalDeviceConfiguration()] * 2)\n"
    for strategy in STRATEGIES:
        code += f"strategy = tf.distribute.{strategy}\n"
        for where in WHERE:
            made, fitted = (
                "strategy.scope()" if where in (here, "both") else "contextlib.nullcontext()"
                for here in ("made", "fitted")
            )
            refused = REFUSED.format(model="made").replace("\n", "\n    ")
            code += f"with {made}:\n    made = model()\nwith {fitted}:{refused}\n"
    lines = run(code, partial(having_imported, "tensorflow")).splitlines()
    return dict(zip(((strategy, where) for strategy in STRATEGIES for where in WHERE), lines, strict=True))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_of_tensorflow_is_refused(said_to_strategies, strategy, where):
    said = said_to_strategies[strategy, where]
    assert "is not supported: each replica" in said
    assert "JAX trains by keras.distribution" in said
    assert "PyTorch by torchrun" in said


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has them")
def test_a_distribution_that_keras_would_ignore_is_refused(ready_model, pairs):
    model = ready_model()
    mesh = keras.distribution.DeviceMesh((1,), ["batch"], devices=["cpu:0"])
    keras.distribution.set_distribution(keras.distribution.DataParallel(device_mesh=mesh))
    try:
        with pytest.raises(RuntimeError, match=r"keras.distribution is set .*ignores it"):
            model.fit(*pairs, epochs=1, verbose=0)
    finally:
        keras.distribution.set_distribution(None)


TWO = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"}
DISTRIBUTIONS = {
    "data": "keras.distribution.DataParallel(devices=keras.distribution.list_devices())",
    "model": """keras.distribution.ModelParallel(layout_map=keras.distribution.LayoutMap(
    keras.distribution.DeviceMesh((1, 2), ["batch", "model"], devices=keras.distribution.list_devices())),
    batch_dim_name="batch")""",
}


TRAINED = """
assert len(keras.distribution.list_devices()) == 2
plain = None
for name, distribution in {None: None, **distributions}.items():
    keras.distribution.set_distribution(distribution)
    rng = np.random.default_rng(0)
    made = model()
    query = data(41)
    # the last batches are of 1, and of 1 too
    history = fit(made, 41, validation_data=data(33)).history
    # sets of any size are encoded
    assert made.encode_image(query[0]["image"][:33], batch_size=7, verbose=0).shape == (33, 2)
    assert made.encode_text(query[0]["text"][:1], verbose=0).shape == (1, 2)
    metrics = made.evaluate_retrieval(query, data(55))
    codes = made.codes_of(sk.PairDataset(**query[0], labels=query[1]))
    results = (history["loss"], history["val_loss"], list(metrics.values()), *codes)
    if name is None:
        plain = results
        continue
    for one, two in zip(plain, results):
        np.testing.assert_allclose(one, two, rtol=2e-6, atol=2e-6)
    print("the same model:", name)
"""
LOADER = """
x, y = data(41)
loader = [({**{name: values[at:at + 20] for name, values in x.items()}, "index": np.arange(at, min(at + 20, 41))},
           y[at:at + 20]) for at in range(0, 41, 20)]
losses = []
for distribution in None, distributions["data"]:
    keras.distribution.set_distribution(distribution)
    losses.append(model().fit(loader, epochs=1, verbose=0).history["loss"])
np.testing.assert_allclose(*losses, rtol=2e-6)
print("a loader")
"""


@pytest.mark.skipif(BACKEND != "jax", reason="JAX has them")
def test_devices_of_one_process_train_the_same_model_on_jax_also_on_batches_that_they_cannot_share():
    distributions = ", ".join(f"{name!r}: {made}" for name, made in DISTRIBUTIONS.items())
    said = run(f"distributions = {{{distributions}}}\n{TRAINED}{LOADER}", **TWO)
    assert said.splitlines() == ["the same model: data", "the same model: model", "a loader"]
