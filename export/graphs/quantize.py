"""Smaller ONNX files of an encoder, by onnxruntime's own tools. A program of its own: they set up logging."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16

from scbch_keras.export.format.manifest import PRECISIONS, onnx_path
from scbch_keras.modalities import MODALITIES

_BLOCK = 128
_INT8_PRODUCTS = 4  # accuracy_level of MatMulNBits


def write_quantized(source: Path, precision: str, target: Path) -> None:
    """Write the encoder of an ONNX file, as `write_onnx` makes it, once more in less precision.

    Inputs and outputs stay as they are: float32 features, uint8 packed codes, float32 codes.

    precision: "int8" (the constant matrices of products, in blocks of 128 with a scale each; needs onnxruntime:
        the operator is its own) or "fp16" (all).

    Raises ValueError if there is nothing that int8 would make smaller.
    """
    onnx.save_model(_WRITERS[precision](onnx.load(str(source))), str(target))


def _int8(model: onnx.ModelProto) -> onnx.ModelProto:
    # Not quantize_dynamic: it has one scale for all rows of a call, so that a row's code would depend on the
    # rows beside it; and its int8 products overflow on processors without VNNI.
    constants = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in constants]
    packing = _packing(model)
    if all(node.name in packing for node in products):
        raise ValueError(
            "the encoder has no products with constant matrices, so int8 would not make it smaller"
        )
    quantizer = MatMulNBitsQuantizer(
        model,
        nodes_to_exclude=packing,
        algo_config=DefaultWeightOnlyQuantConfig(
            block_size=_BLOCK, bits=8, accuracy_level=_INT8_PRODUCTS, op_types_to_quantize=("MatMul",)
        ),
    )
    quantizer.process()
    return quantizer.model.model


def _packing(model: onnx.ModelProto) -> list[str]:
    """Names of the products that make bytes of bits: Cast(MatMul(...)) = packed_codes. They have to be exact."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    cast = made_by["packed_codes"]
    return [made_by[cast.input[0]].name]


def _fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    # The packing may be converted with the rest: sums of bits, up to 255, are exact in half precision.
    return convert_float_to_float16(model, keep_io_types=True)


_WRITERS: dict[str, Callable[[onnx.ModelProto], Any]] = {"int8": _int8, "fp16": _fp16}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS[1:], required=True)
    arguments = parser.parse_args()
    for modality in MODALITIES:
        for precision in arguments.precisions:
            written = arguments.folder / onnx_path(modality, precision)
            write_quantized(arguments.folder / onnx_path(modality, "float32"), precision, written)
