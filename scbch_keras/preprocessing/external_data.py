"""Whether an ONNX file keeps tensors in other files. Standard library only.

onnxruntime follows such paths also out of the folder, and for a model from memory from the current folder on: what was
checked would not be what is used. So it is found in the protobuf itself before onnxruntime sees it.
"""

from collections.abc import Iterator

_TENSOR = "tensor"
# Field number -> kind of message, of those in which tensors can lie: onnx.proto3.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
    _TENSOR: {},
}
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_MAX_DEPTH = 100  # protobuf's own limit
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_no_external_data(content: bytes, source: str) -> None:
    """Refuse an ONNX model of which a tensor lies in another file, or that cannot be searched for one.

    Args:
        content: of the file.
        source: by which the errors name it.

    Raises:
        ValueError: there is one; its name is in the message. Or the content is no protobuf.
    """
    if content[4:8] == b"ORTM":
        raise ValueError(f"{source} is no ONNX file but one of onnxruntime's own format")
    try:
        for name in _external(memoryview(content), "model", 0):
            raise ValueError(
                f"{source} must hold all its tensors, got {name!r} in an external file: save the model with "
                "onnx.save(model, path, save_as_external_data=False) and release it again"
            )
    except (IndexError, RecursionError) as error:
        raise ValueError(f"{source} is no ONNX file: {error}") from error


def _external(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    """The names of tensors that lie elsewhere."""
    if depth > _MAX_DEPTH:
        raise IndexError("messages are nested too deeply")
    name, is_external = "", False
    for number, value in _fields(message):
        if kind == _TENSOR:
            if number == _NAME and isinstance(value, memoryview):
                name = bytes(value).decode(errors="replace")
            is_external |= number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
        elif isinstance(value, memoryview) and number in _MESSAGES[kind]:
            yield from _external(value, _MESSAGES[kind][number], depth + 1)
    if is_external:
        yield name


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field: an integer, or bytes. Raises IndexError where the message is cut or is none."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == _BYTES:
            size, place = _varint(message, place)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise IndexError(f"wire type {wire} at byte {place}")
        if size > len(message) - place:
            raise IndexError(f"a field of {size} bytes at byte {place} is longer than its message")
        yield number, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise IndexError(f"a number at byte {place} is too long")
