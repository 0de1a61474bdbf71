"""One encoder as an ONNX file, by tf2onnx. TensorFlow backend only."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tf2onnx

from scbch_keras.export.manifest import ONNX_OPSET
from scbch_keras.export.signatures import encode_function

_BATCH = "batch"
_LARGE = 2**20


def write_onnx(model: Any, modality: str, path: Path) -> None:
    """Write one encoder: its input named for the modality, outputs packed_codes and codes, any batch."""
    # tf2onnx copies every constant many times over (16 GB for the paper's image branch). Large matrices enter
    # its graph as inputs and become constants when it is done; onnxruntime folds what is left to fold.
    large = [
        variable
        for variable in getattr(model, f"{modality}_branch").variables
        if len(variable.shape) == 2 and np.prod(variable.shape) >= _LARGE and variable.dtype == "float32"
    ]
    function = encode_function(model, modality, free=large)
    graph_model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=ONNX_OPSET
    )
    graph = graph_model.graph
    # tf2onnx sorts outputs by name; clients that read the first one alone are after the packed codes.
    outputs = sorted(graph.output, key=lambda output: output.name != "packed_codes")
    del graph.output[:]
    graph.output.extend(outputs)
    features = [tensor for tensor in graph.input if tensor.name == modality]
    del graph.input[:]
    graph.input.extend(features)
    for tensor in (*graph.input, *graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = _BATCH
    for place, variable in enumerate(large):
        graph.initializer.append(onnx.numpy_helper.from_array(variable.numpy(), f"free_{place}"))
    onnx.save_model(graph_model, str(path))
