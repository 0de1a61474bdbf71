"""One encoder as an ONNX file, by tf2onnx. TensorFlow backend only."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tf2onnx

from scbch_keras.export.format.manifest import ONNX_OPSET
from scbch_keras.export.graphs.signatures import encode_function, encode_pictures_function
from scbch_keras.preprocessing.image import ImagePipeline

_LARGE = 2**20


def _of_exponential(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Expm1 of TensorFlow, as in Keras' celu: e^x - 1."""
    power = context.make_node("Exp", node.input).output[0]
    one = context.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    context.remove_node(name)
    context.make_node("Sub", [power, one], outputs=node.output, name=name)


def _of_error_function(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Erfc of TensorFlow, as in Keras' gelu: 1 - erf(x)."""
    error = context.make_node("Erf", node.input).output[0]
    one = context.make_const(f"{name}_one", np.array(1, np.float32)).output[0]
    context.remove_node(name)
    context.make_node("Sub", [one, error], outputs=node.output, name=name)


# What tf2onnx itself has no rule for, and writes as it is, into a file that nothing can open.
_RULES: dict[str, Any] = {"Expm1": (_of_exponential, []), "Erfc": (_of_error_function, [])}


def write_onnx(model: Any, modality: str, path: Path) -> None:
    """Write one encoder: its inputs as `encoder_inputs` names them, outputs packed_codes and codes, any batch."""
    variables = getattr(model, f"{modality}_branch").variables
    _write(
        lambda free: encode_function(model, modality, free, with_no_rows=False), variables, ["batch"], path
    )


def write_raw_image_onnx(model: Any, pipeline: ImagePipeline, path: Path) -> None:
    """Write the image encoder of pictures: `pictures` uint8 (n, height, width, 3), n >= 1, resized within."""
    variables = list(model.image_branch.variables)
    if pipeline.backbone is not None:
        variables += pipeline.backbone.variables
    _write(
        lambda free: encode_pictures_function(model, pipeline, free),
        variables,
        ["batch", "height", "width"],
        path,
    )


def _write(
    make: Callable[[list[Any]], Any], variables: Iterable[Any], free_axes: list[str], path: Path
) -> None:
    """Write the function that `make` builds, whose large `variables` pass through tf2onnx as inputs.

    free_axes: names of the first axes of its inputs that stay.
    """
    # tf2onnx copies every constant many times over (16 GB for the paper's image branch). Large matrices and
    # kernels enter its graph as inputs and become constants when it is done; onnxruntime folds what is left to fold.
    large = [
        variable
        for variable in variables
        if len(variable.shape) in (2, 4) and np.prod(variable.shape) >= _LARGE and variable.dtype == "float32"
    ]
    function = make(large)
    graph_model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=ONNX_OPSET, custom_op_handlers=_RULES
    )
    graph = graph_model.graph
    for node in graph.node:
        if not onnx.defs.has(node.op_type, node.domain):
            raise ValueError(
                f"ONNX has no operation {node.op_type}, which {node.name} is made of: release with "
                "formats=('saved_model',), or make that layer of other operations"
            )
    # tf2onnx sorts outputs by name; clients that read the first one alone are after the packed codes.
    outputs = sorted(graph.output, key=lambda output: output.name != "packed_codes")
    del graph.output[:]
    graph.output.extend(outputs)
    constants = {f"free_{place}": variable for place, variable in enumerate(large)}
    # Tensors that a layer holds, such as the mean in Keras' preprocessing: tf2onnx takes them for inputs.
    for outside, inside in function.get_concrete_function().graph.captures:
        if outside.dtype != "resource":
            constants[inside.name] = outside
    inputs = [tensor for tensor in graph.input if tensor.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    for tensor in graph.input:
        for axis, name in enumerate(free_axes):
            tensor.type.tensor_type.shape.dim[axis].dim_param = name
    for tensor in graph.output:
        tensor.type.tensor_type.shape.dim[0].dim_param = free_axes[0]
    for name in sorted(constants.keys() & {name for node in graph.node for name in node.input}):
        graph.initializer.append(onnx.numpy_helper.from_array(constants[name].numpy(), name))
    onnx.save_model(graph_model, str(path))
