"""A module's `pipeline` by the graphs that releases hold."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def by_onnx(pipeline):
    """The same features from `text_raw.onnx`'s nodes, by onnxruntime."""
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from scbch_keras.export.graphs.text_onnx import features_model

    model = features_model(pipeline)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert {node.domain for node in model.graph.node} == {""}
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda texts: session.run(None, {"text": pipeline.normalize(texts)})[0]


@pytest.fixture(scope="module")
def by_tensorflow(pipeline, tmp_path_factory):
    """The same features from the graph of encode_raw_text."""
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from scbch_keras.export.graphs.text_tensorflow import features_function, vocabulary_table

    table = vocabulary_table(pipeline, tmp_path_factory.mktemp("assets") / "vocabulary.txt")
    signature = [tf.TensorSpec([None], tf.string)]
    features = tf.function(features_function(pipeline, table), input_signature=signature, autograph=False)
    return lambda texts: features(tf.constant([text.encode() for text in texts], tf.string)).numpy()


@pytest.fixture(scope="module")
def check_equal(pipeline, by_onnx, by_tensorflow):
    """A function of texts, of which all three give the same features; returns them."""

    def check(texts):
        expected = pipeline(texts)
        np.testing.assert_array_equal(by_onnx(texts), expected, strict=True)
        np.testing.assert_array_equal(by_tensorflow(texts), expected, strict=True)
        return expected

    return check
