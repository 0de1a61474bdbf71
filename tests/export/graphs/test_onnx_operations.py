"""Which operations an ONNX file can be made of."""

import inspect

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tf2onnx converts TensorFlow's graphs", allow_module_level=True)

from scbch_keras import SCBCH, HashBranch
from scbch_keras.export.graphs.onnx import write_onnx

runtime = pytest.importorskip("onnxruntime")
NEEDED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def of_one_argument(function):
    parameters = inspect.signature(function).parameters.values()
    return sum(p.default is p.empty and p.kind in NEEDED for p in parameters) == 1


ACTIVATIONS = {
    name: function
    for name, function in vars(keras.activations).items()
    if inspect.isfunction(function)
    and not name.startswith("_")
    # glu halves the width, which Activation does not know.
    and name not in ("get", "serialize", "deserialize", "glu")
    and of_one_argument(function)
}


def model_of(outputs, inputs):
    model = SCBCH(16, 3, image_branch=keras.Model(inputs, outputs), text_branch=HashBranch(16, (4,)))
    model.build({"image": (None, 6), "text": (None, 5)})
    return model


def test_every_activation_of_keras_gives_the_models_codes(tmp_path):
    assert {"gelu", "celu", "silu", "mish"} <= set(ACTIVATIONS)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    parts = [keras.layers.Activation(function)(inputs) for function in ACTIVATIONS.values()]
    model = model_of(keras.layers.concatenate(parts), inputs)
    write_onnx(model, "image", tmp_path / "image.onnx")
    session = runtime.InferenceSession(tmp_path / "image.onnx", providers=["CPUExecutionProvider"])
    x = 3 * np.random.default_rng(0).standard_normal((70, 6)).astype("float32")
    (codes,) = session.run(["codes"], {"image": x})
    np.testing.assert_allclose(codes, model.encode_image(x, packed=False, verbose=0), atol=1e-5)


def test_an_operation_that_onnx_has_not_is_refused_by_its_name(tmp_path):
    inputs = keras.Input((6,))
    model = model_of(keras.ops.erfinv(keras.ops.tanh(inputs)), inputs)
    with pytest.raises(ValueError, match=r"ONNX has no operation Erfinv.*formats=\('saved_model',\)"):
        write_onnx(model, "image", tmp_path / "image.onnx")
    assert list(tmp_path.iterdir()) == []
