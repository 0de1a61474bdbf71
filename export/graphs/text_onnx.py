"""Normalised texts -> features, and with an encoder -> codes, in ONNX's standard operators."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from scbch_keras.export.format.manifest import RAW_TEXT_OPSET
from scbch_keras.preprocessing.text import TextPipeline

_BATCH = "batch"
# Before every name of these nodes, so that none is one of the encoder's.
_OURS = "scbch_raw_text/"
_COUNTS, _WEIGHTED, _FEATURES = (_OURS + name for name in ("counts", "weighted", "features"))


def features_model(pipeline: TextPipeline) -> onnx.ModelProto:
    """Strings `text` (n,), n >= 1, as `pipeline.normalize` gives them -> its float32 features (n, dimensions)."""
    nodes, constants = _nodes(pipeline)
    features = helper.make_tensor_value_info(_FEATURES, TensorProto.FLOAT, [_BATCH, pipeline.dimensions])
    graph = helper.make_graph(nodes, "raw_text", [_text_input()], [features], constants)
    opset = [helper.make_opsetid("", RAW_TEXT_OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=helper.find_min_ir_version_for(opset))


def write_raw_text_onnx(pipeline: TextPipeline, encoder: Path, path: Path) -> None:
    """Write the text encoder of the file `encoder` with the features in front: strings `text` (n,) -> codes.

    The strings are normalised before (`pipeline.normalize`): no standard operator does that. What is not, counts
    as unknown words.
    """
    model = onnx.version_converter.convert_version(onnx.load(encoder), RAW_TEXT_OPSET)
    nodes, constants = _nodes(pipeline)
    graph = model.graph
    _feed(graph)
    encoding = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *encoding])
    graph.initializer.extend(constants)
    del graph.input[:]
    graph.input.append(_text_input())
    helper.set_model_props(model, {"normalization": pipeline.normalization})
    model.ir_version = max(model.ir_version, helper.find_min_ir_version_for(list(model.opset_import)))
    onnx.save_model(model, str(path))


def _text_input() -> onnx.ValueInfoProto:
    doc = "Normalised before (TextPipeline.normalize, or scbch.js): raw strings give wrong codes without an error."
    return helper.make_tensor_value_info("text", TensorProto.STRING, [_BATCH], doc_string=doc)


def _feed(graph: onnx.GraphProto) -> None:
    """Let what reads the encoder's input, in this graph and those within, read the features."""
    for node in graph.node:
        node.input[:] = [_FEATURES if name == "text" else name for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _feed(attribute.g)


def _nodes(pipeline: TextPipeline) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output], name=f"{output}_{kind}", **attributes)

    words, squares, total, length, unit = (
        _OURS + name for name in ("words", "squares", "total", "length", "unit")
    )
    idf, axis, one, zero = (_OURS + name for name in ("idf", "axis", "one", "zero"))
    is_tfidf = pipeline.idf is not None
    split = helper.make_node("StringSplit", ["text"], [words, _OURS + "number"], delimiter=" ")
    vectorizer = {
        # Without weights IDF only cuts the counts to 1.
        "mode": "IDF" if pipeline.weighting == "presence" else "TF",
        "min_gram_length": 1,
        "max_gram_length": 1,
        "max_skip_count": 0,
        "ngram_counts": [0],
        "ngram_indexes": list(range(pipeline.dimensions)),
        "pool_strings": [word.encode() for word in pipeline.vocabulary],
    }
    count = node("TfIdfVectorizer", [words], _COUNTS if is_tfidf else _FEATURES, **vectorizer)
    if not is_tfidf:
        return [split, count], []
    nodes = [
        split,
        count,
        node("Cast", [_COUNTS], _OURS + "exact", to=TensorProto.DOUBLE),
        node("Mul", [_OURS + "exact", idf], _WEIGHTED),
        node("Mul", [_WEIGHTED, _WEIGHTED], squares),
        node("ReduceSum", [squares, axis], total, keepdims=1),
        node("Sqrt", [total], length),
        node("Greater", [length, zero], _OURS + "any"),
        node("Where", [_OURS + "any", length, one], unit),
        node("Div", [_WEIGHTED, unit], _OURS + "scaled"),
        node("Cast", [_OURS + "scaled"], _FEATURES, to=TensorProto.FLOAT),
    ]
    values = {idf: pipeline.idf, axis: np.array([1]), one: np.array(1.0), zero: np.array(0.0)}
    return nodes, [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
