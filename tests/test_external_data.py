"""ONNX files that keep tensors in other files: onnxruntime would follow them anywhere, so they are refused before."""

import shutil

import numpy as np
import pytest

from scbch_keras.export import HashEncoder
from scbch_keras.export.format import manifest as manifests
from scbch_keras.preprocessing.external_data import check_no_external_data
from tests.export.serving.test_encoder import edit, encoder_graph, folder  # noqa: F401

pytestmark = pytest.mark.numpy_only

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


def external(model, tensor, location="w.bin"):
    """Move a tensor of the model to another file, by the field that says so."""
    with open(location, "wb") as file:
        file.write(onnx.numpy_helper.to_array(tensor).tobytes())
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return model


def weight(name="w"):
    return onnx.numpy_helper.from_array(np.ones((3, 3), np.float32), name)


def nested(kind):
    """A model with a tensor in one of the places where tensors can lie, and that tensor."""
    helper = onnx.helper
    inner = helper.make_graph([], "inner", [], [], [weight()] if "graph" in kind else [])
    node = helper.make_node("Identity", ["x"], ["y"])
    if kind == "constant":
        node = helper.make_node("Constant", [], ["y"], value=weight())
    elif kind == "list of tensors":
        node.attribute.append(helper.make_attribute("many", [weight()]))
    elif kind == "sparse attribute":
        sparse = helper.make_sparse_tensor(weight(), onnx.numpy_helper.from_array(np.arange(9), "i"), [9])
        node.attribute.append(helper.make_attribute("sparse", sparse))
    elif kind == "subgraph":
        node.attribute.append(helper.make_attribute("body", inner))
    elif kind == "subgraph of a subgraph":
        outer = helper.make_graph([helper.make_node("If", ["c"], ["z"], then_branch=inner)], "outer", [], [])
        node.attribute.append(helper.make_attribute("bodies", [outer]))
    graph = helper.make_graph([node], "g", [], [], [weight()] if kind == "initializer" else [])
    model = helper.make_model(graph)
    if kind == "sparse initializer":
        indices = onnx.numpy_helper.from_array(np.arange(9), "i")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(weight(), indices, [9]))
    elif kind == "function":
        constant = helper.make_node("Constant", [], ["y"], value=weight())
        model.functions.append(helper.make_function("d", "f", [], ["y"], [constant], []))
    elif kind == "training graph":
        model.training_info.add().algorithm.CopyFrom(inner)
    return model


def tensors(message):
    """All tensors in a protobuf message, by its own description."""
    if isinstance(message, onnx.TensorProto):
        yield message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for child in value if not hasattr(value, "ListFields") else [value]:
                yield from tensors(child)


KINDS = (
    "initializer",
    "sparse initializer",
    "constant",
    "list of tensors",
    "sparse attribute",
    "subgraph",
    "subgraph of a subgraph",
    "function",
    "training graph",
)


@pytest.mark.parametrize("how", ["location", "entry alone", "flag alone"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_in_another_file_is_found_wherever_it_can_lie(kind, how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = nested(kind)
    check_no_external_data(model.SerializeToString(), "m.onnx")
    tensor = next(each for each in tensors(model) if each.name == "w")
    external(model, tensor)
    if how == "entry alone":
        tensor.ClearField("data_location")
    elif how == "flag alone":
        tensor.ClearField("external_data")
    with pytest.raises(ValueError, match=r"m\.onnx must hold all its tensors, got 'w' in an external file"):
        check_no_external_data(model.SerializeToString(), "m.onnx")


@pytest.mark.parametrize("location", ["w.bin", "../elsewhere/w.bin", "release"])
def test_a_release_with_tensors_in_another_file_is_refused(folder, tmp_path, monkeypatch, location):  # noqa: F811
    here = tmp_path / "elsewhere"
    here.mkdir()
    monkeypatch.chdir(here)
    model = encoder_graph("text")
    path = "w.bin" if location == "release" else location
    external(model, next(t for t in model.graph.initializer if t.name == "w"), path)
    # onnxruntime itself opens it, with a file from where the program happens to run.
    ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (folder / "text.onnx").write_bytes(model.SerializeToString())
    if location == "release":
        shutil.copy("w.bin", folder / "w.bin")
    edit(folder, lambda manifest: manifest.update(files=manifests.describe_files(folder)))
    with pytest.raises(
        ValueError, match=r"text\.onnx must hold all its tensors, got 'w' in an external file"
    ):
        HashEncoder(folder)


def test_a_model_in_the_format_of_onnxruntime_is_refused():
    with pytest.raises(ValueError, match=r"m\.onnx is no ONNX file but one of onnxruntime's own format"):
        check_no_external_data(b"\x18\0\0\0ORTM" + bytes(100), "m.onnx")
