"""Tensors of the Open Inference Protocol in a request: read from JSON or from the bytes behind it, and checked."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.checks import shown
from scbch_keras.export.service.inputs import (
    PixelBudget,
    Shape,
    as_text,
    check_plain,
    feature_rows,
    finite,
    from_base64,
)
from scbch_keras.export.service.limits import InputError, Limits
from scbch_keras.export.service.scanner import Scanner

DATATYPES = {"float32": "FP32", "uint8": "UINT8", "int32": "INT32", "string": "BYTES"}
"""Types of a manifest -> as the protocol names them."""
_SMALL = 2**12
_MAX_TENSORS = 16


@dataclass
class Tensor:
    """An input as the request describes it. `data`: where its JSON begins; else `binary` is its bytes."""

    name: str = ""
    datatype: str = ""
    shape: list[int] = field(default_factory=list)
    data: int | None = None
    binary_size: int | None = None
    binary: bytes = b""


@dataclass
class Head:
    """A request without its tensors' values. `outputs`: names, and whether in binary, None where it does not say."""

    scanner: Scanner
    id: str | None = None
    inputs: list[Tensor] = field(default_factory=list)
    outputs: dict[str, bool | None] = field(default_factory=dict)
    binary_output: bool = False


@dataclass
class TensorRequest:
    """What a request holds: `id`, `outputs` and `binary_output` as `Head`; `rows` as the encoder takes them."""

    id: str | None
    outputs: dict[str, bool | None]
    binary_output: bool
    rows: Any


def read_tensors(
    body: bytes, header: str | None, kind: str, limits: Limits, name: str, datatype: str, shape: Shape
) -> TensorRequest:
    """A request's body for a model, whose one input has that name, datatype and shape. Raises InputError."""
    head = read_head(body, header)
    rows = input_rows(head, name, datatype, shape, limits, kind)
    return TensorRequest(head.id, head.outputs, head.binary_output, rows)


def read_head(body: bytes, header: str | None) -> Head:
    """A request's body; header: length of its JSON, after which the binary tensors come, or None for all.

    Raises InputError, which names the field.
    """
    length = len(body)
    if header is not None:
        if not (header.isascii() and header.isdigit()) or len(header) > 18 or int(header) > len(body):
            raise InputError(
                f"Inference-Header-Content-Length: expected an int from 0 to {len(body)}, got {shown(header)}"
            )
        length = int(header)
    head = Head(Scanner(body[:length]))
    scanner = head.scanner
    for key in scanner.keys("body"):
        if key == "id":
            head.id = _text("id", scanner.value("id", _SMALL))
        elif key == "inputs":
            for place in scanner.elements("inputs", _MAX_TENSORS):
                head.inputs.append(_read_tensor(scanner, f"inputs.{place}"))
        elif key == "outputs":
            for place in scanner.elements("outputs", _MAX_TENSORS):
                name, binary = _read_output(scanner, f"outputs.{place}")
                head.outputs[name] = binary
        elif key == "parameters":
            parameters = scanner.value(key, _SMALL)
            if isinstance(parameters, dict):
                head.binary_output = _flag(parameters, "parameters", "binary_data_output") or False
        else:
            raise InputError(f"{key}: unknown; expected one of id, inputs, outputs, parameters")
    scanner.end("body")
    at = length
    for place, tensor in enumerate(head.inputs):
        if tensor.binary_size is not None:
            tensor.binary = body[at : at + tensor.binary_size]
            at += tensor.binary_size
            if at > len(body):
                raise InputError(
                    f"inputs.{place}.parameters.binary_data_size: expected {tensor.binary_size} bytes, "
                    f"got {len(tensor.binary)}"
                )
    if at != len(body):
        raise InputError(f"body: {len(body) - at} bytes follow the tensors")
    return head


def _read_tensor(scanner: Scanner, name: str) -> Tensor:
    tensor = Tensor()
    for key in scanner.keys(name):
        at = f"{name}.{key}"
        if key == "data":
            tensor.data = scanner.skip(at)
        elif key == "name":
            tensor.name = _text(at, scanner.value(at, _SMALL))
        elif key == "datatype":
            tensor.datatype = _text(at, scanner.value(at, _SMALL))
        elif key == "shape":
            shape = scanner.value(at, _SMALL)
            if not isinstance(shape, list) or not all(
                type(size) is int and 0 <= size < 2**31 for size in shape
            ):
                raise InputError(f"{at}: expected a list of ints of at least 0, got {shown(shape)}")
            tensor.shape = shape
        elif key == "parameters":
            parameters = scanner.value(at, _SMALL)
            size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
            if size is not None and (type(size) is not int or size < 0):
                raise InputError(f"{at}.binary_data_size: expected an int of at least 0, got {shown(size)}")
            tensor.binary_size = size
        else:
            raise InputError(f"{at}: unknown; expected one of name, shape, datatype, parameters, data")
    if (tensor.data is None) == (tensor.binary_size is None):
        raise InputError(f"{name}: expected data, or parameters.binary_data_size, one of the two")
    return tensor


def _read_output(scanner: Scanner, name: str) -> tuple[str, bool | None]:
    output, binary = None, None
    for key in scanner.keys(name):
        at = f"{name}.{key}"
        value = scanner.value(at, _SMALL)
        if key == "name":
            output = _text(at, value)
        elif key == "parameters":
            if isinstance(value, dict):
                if value.get("classification"):
                    raise InputError(f"{at}.classification: codes have no classes")
                binary = _flag(value, at, "binary_data")
        else:
            raise InputError(f"{at}: unknown; expected name or parameters")
    if output is None:
        raise InputError(f"{name}.name: missing")
    return output, binary


def input_rows(
    head: Head, name: str, datatype: str, shape: Shape, limits: Limits, kind: str
) -> NDArray[np.float32] | list[Any]:
    """The one input of a model -> rows as the encoder takes them.

    name, datatype, shape: of the model's input, None for a free size. Raises InputError, which names the field.
    """
    if [tensor.name for tensor in head.inputs] != [name]:
        raise InputError(
            f"inputs: expected one tensor named {name}, got {shown([tensor.name for tensor in head.inputs])}"
        )
    [tensor] = head.inputs
    if tensor.datatype != datatype:
        raise InputError(f"inputs.0.datatype: expected {datatype}, got {shown(tensor.datatype)}")
    actual = tensor.shape
    if datatype == "BYTES" and len(actual) == 2 and actual[1] == 1:
        actual = actual[:1]  # Triton has a dimension behind the batch
    if len(actual) != len(shape) or any(
        size not in (None, length) for size, length in zip(shape, actual, strict=True)
    ):
        raise InputError(
            f"inputs.0.shape: expected {[-1 if size is None else size for size in shape]}, got {tensor.shape}"
        )
    if not 1 <= actual[0] <= limits.max_rows:
        raise InputError(f"inputs.0.shape: expected 1 to {limits.max_rows} rows, got {actual[0]}")
    if datatype == "BYTES":
        return _byte_rows(head, tensor, actual[0], limits, kind)
    return _float_rows(head, tensor, actual, limits)


def _float_rows(head: Head, tensor: Tensor, shape: list[int], limits: Limits) -> NDArray[np.float32]:
    name, count = "inputs.0.data", prod(shape)
    if tensor.data is None:
        if len(tensor.binary) != 4 * count:
            raise InputError(
                f"inputs.0.parameters.binary_data_size: expected {4 * count} bytes for shape {tensor.shape}, "
                f"got {len(tensor.binary)}"
            )
        return finite(name, np.frombuffer(tensor.binary, "<f4").reshape(shape))
    # Each number takes two characters at least: no array is made for a shape that the data cannot fill.
    if count > len(head.scanner.text):
        raise InputError(f"{name}: expected {count} numbers for shape {tensor.shape}, got fewer")
    scanner = _at(head, tensor)
    scanner.expect(name, "[")
    is_nested = scanner.peek() == "["
    scanner = _at(head, tensor)
    if is_nested:
        rows = feature_rows(scanner, name, shape[1:], limits)
        if len(rows) != shape[0]:
            raise InputError(f"{name}: expected {shape[0]} rows for shape {tensor.shape}, got {len(rows)}")
        return rows
    values = np.empty(count, np.float64)
    filled = 0
    for block in scanner.numbers(name):
        check_plain(name, block)
        if filled + len(block) > count:
            raise InputError(f"{name}: expected {count} numbers for shape {tensor.shape}, got more")
        values[filled : filled + len(block)] = block
        filled += len(block)
    if filled != count:
        raise InputError(f"{name}: expected {count} numbers for shape {tensor.shape}, got {filled}")
    return finite(name, values).reshape(shape)


def _byte_rows(head: Head, tensor: Tensor, count: int, limits: Limits, kind: str) -> list[Any]:
    name = "inputs.0.data"
    elements: list[Any] = []
    if tensor.data is None:
        elements += _binary_elements(tensor.binary, count)
    else:
        elements += _strings(head, tensor, count)
    if len(elements) != count:
        raise InputError(f"{name}: expected {count} elements for shape {tensor.shape}, got {len(elements)}")
    budget = PixelBudget(limits)
    rows: list[Any] = []
    for place, element in enumerate(elements):
        at = f"{name}.{place}"
        if kind == "pictures":
            rows.append(budget.checked(at, from_base64(at, element) if isinstance(element, str) else element))
            continue
        try:
            text = element if isinstance(element, str) else element.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{at}: expected UTF-8, got {shown(error.object[error.start :][:8])}") from error
        rows.append(as_text(at, text, limits))
    return rows


def _strings(head: Head, tensor: Tensor, count: int) -> list[str]:
    """A flat list of strings, or one of lists of one string."""
    scanner, name = _at(head, tensor), "inputs.0.data"
    strings = []
    for place in scanner.elements(name, count):
        is_list = scanner.peek() == "["
        if is_list:
            scanner.expect(name, "[")
        strings.append(scanner.string(f"{name}.{place}"))
        if is_list:
            scanner.expect(f"{name}.{place}", "]")
    return strings


def _binary_elements(binary: bytes, count: int) -> list[bytes]:
    """Elements with their lengths before them, four bytes each, little-endian."""
    elements: list[bytes] = []
    at = 0
    while at < len(binary) and len(elements) <= count:
        length = int.from_bytes(binary[at : at + 4], "little")
        if at + 4 + length > len(binary):
            raise InputError(
                f"inputs.0.data.{len(elements)}: expected {length} bytes, got {max(0, len(binary) - at - 4)}"
            )
        elements.append(binary[at + 4 : at + 4 + length])
        at += 4 + length
    return elements


def _at(head: Head, tensor: Tensor) -> Scanner:
    scanner = head.scanner
    scanner.at = tensor.data or 0
    return scanner


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name}: expected a string, got {shown(value)}")
    return value


def _flag(parameters: dict[str, Any], name: str, key: str) -> bool | None:
    value = parameters.get(key)
    if value is not None and not isinstance(value, bool):
        raise InputError(f"{name}.{key}: expected true or false, got {shown(value)}")
    return value
