"""One encoder as an ONNX file, by tf2onnx. TensorFlow backend only."""

from pathlib import Path
from typing import Any

import onnx
import tf2onnx

from scbch_keras.export.manifest import ONNX_OPSET
from scbch_keras.export.signatures import encode_function

_BATCH = "batch"


def write_onnx(model: Any, modality: str, path: Path) -> None:
    """Write one encoder: its input named for the modality, outputs packed_codes and codes, any batch."""
    function = encode_function(model, modality)
    graph_model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=ONNX_OPSET
    )
    graph = graph_model.graph
    # tf2onnx sorts outputs by name; clients that read the first one alone are after the packed codes.
    outputs = sorted(graph.output, key=lambda output: output.name != "packed_codes")
    del graph.output[:]
    graph.output.extend(outputs)
    for tensor in (*graph.input, *graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = _BATCH
    onnx.checker.check_model(graph_model)
    onnx.save_model(graph_model, str(path))
