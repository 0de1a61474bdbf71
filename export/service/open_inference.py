"""The Open Inference Protocol (V2) over a release: models, their tensors, inference in JSON and in binary.

A model for each kind of input: NAME_image and NAME_text take features, NAME_strings texts, NAME_pictures files.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException, Request, Response
from numpy.typing import NDArray

import scbch_keras
from scbch_keras.checks import shown
from scbch_keras.export.service.inputs import MODALITIES
from scbch_keras.export.service.limits import InputError
from scbch_keras.export.service.tensors import DATATYPES, TensorRequest
from scbch_keras.export.service.work import Work

_KINDS = {
    "image": "image_features",
    "text": "text_features",
    "strings": "texts",
    "pictures": "pictures",
}
"""Endings of models' names -> what they take."""


@dataclass(frozen=True)
class Model:
    """One model: `shape` of its input, the batch first, and what each output is."""

    name: str
    kind: str
    input: str
    datatype: str
    shape: list[int | None]
    outputs: dict[str, tuple[str, list[int | None]]]

    def described(self, version: int) -> dict[str, Any]:
        """The protocol's metadata of the model."""

        def tensor(name: str, datatype: str, shape: list[int | None]) -> dict[str, Any]:
            sizes = [-1 if size is None else size for size in shape]
            return {"name": name, "datatype": datatype, "shape": sizes}

        return {
            "name": self.name,
            "versions": [str(version)],
            "platform": "scbch_keras",
            "inputs": [tensor(self.input, self.datatype, self.shape)],
            "outputs": [tensor(name, *output) for name, output in self.outputs.items()],
        }


def model(work: Work, name: str, version: str | None = None) -> Model:
    """The model of that name. Raises HTTPException 404 if the release has none."""
    prefix, _, ending = name.rpartition("_")
    kind = _KINDS.get(ending, "")
    if prefix != work.source.name or not _is_taken(work, kind):
        names = [f"{work.source.name}_{end}" for end, kind in _KINDS.items() if _is_taken(work, kind)]
        raise HTTPException(404, f"model: expected one of {', '.join(names)}, got {shown(name)}")
    if version not in (None, str(work.source.version)):
        raise HTTPException(404, f"version: expected {work.source.version}, got {shown(version)}")
    modality = MODALITIES[kind]
    signature = work.encoder.manifest["signatures"][f"encode_{modality}"]
    outputs = {
        output: (DATATYPES[tensor["dtype"]], tensor["shape"])
        for output, tensor in signature["outputs"].items()
    }
    if kind.endswith("features"):
        return Model(name, kind, modality, "FP32", signature["inputs"][modality]["shape"], outputs)
    if kind == "texts":
        outputs |= {"known_words": ("INT32", [None])}
    return Model(name, kind, "text" if kind == "texts" else "pictures", "BYTES", [None], outputs)


def _is_taken(work: Work, kind: str) -> bool:
    try:
        work.check_kind(kind)
    except InputError:
        return False
    return bool(kind)


async def infer(work: Work, name: str, body: Sequence[bytes], header: str | None) -> Response:
    """An inference request -> its answer. header: Inference-Header-Content-Length, of one with binary tensors."""
    chosen = model(work, name)
    request: TensorRequest = await work.read(
        "tensors", body, header, chosen.kind, chosen.input, chosen.datatype, chosen.shape
    )
    requested = _requested_outputs(chosen, request)
    tensors: dict[str, NDArray[Any]] = {}
    for output in requested:
        if output == "known_words":
            tensors[output] = np.array([len(text.counts) for text in request.rows], np.int32)
        else:
            tensors[output] = await work.encode(chosen.kind, request.rows, packed=output == "packed_codes")
    return await work.in_thread(_answer, work, chosen, request.id, requested, tensors)


def _requested_outputs(chosen: Model, request: TensorRequest) -> dict[str, bool]:
    """Names of outputs -> whether in binary; all of the model where the request names none."""
    if not request.outputs:
        return dict.fromkeys(chosen.outputs, request.binary_output)
    for place, name in enumerate(request.outputs):
        if name not in chosen.outputs:
            raise InputError(
                f"outputs.{place}.name: expected one of {', '.join(chosen.outputs)}, got {shown(name)}"
            )
    return {
        name: request.binary_output if binary is None else binary for name, binary in request.outputs.items()
    }


def _answer(
    work: Work, chosen: Model, id: str | None, requested: dict[str, bool], tensors: dict[str, NDArray[Any]]
) -> Response:
    described: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for name, tensor in tensors.items():
        entry: dict[str, Any] = {
            "name": name,
            "datatype": chosen.outputs[name][0],
            "shape": list(tensor.shape),
        }
        if requested[name]:
            binary.append(tensor.astype(tensor.dtype.newbyteorder("<")).tobytes())
            entry["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            entry["data"] = tensor.ravel().tolist()
        described.append(entry)
    answer = {"model_name": chosen.name, "model_version": str(work.source.version), "outputs": described}
    content = json.dumps(({} if id is None else {"id": id}) | answer).encode()
    if not binary:
        return Response(content, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(len(content))}
    return Response(b"".join([content, *binary]), headers=headers, media_type="application/octet-stream")


def router(work: Work, infer: Callable[[Request, str], Awaitable[Response]]) -> APIRouter:
    """The routes of the protocol."""
    routes = APIRouter(prefix="/v2")

    def check_ready() -> None:
        if not work.ready():
            raise HTTPException(503, "not ready")

    @routes.get("")
    async def server() -> dict[str, Any]:
        return {
            "name": "scbch_keras",
            "version": scbch_keras.__version__,
            "extensions": ["binary_tensor_data"],
        }

    @routes.get("/health/live")
    async def live() -> Response:
        return Response()

    @routes.get("/health/ready")
    async def ready() -> Response:
        check_ready()
        return Response()

    for versioned in ("", "/versions/{version}"):
        path = f"/models/{{name}}{versioned}"

        @routes.get(path)
        async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
            return model(work, name, version).described(work.source.version)

        @routes.get(f"{path}/ready")
        async def model_ready(name: str, version: str | None = None) -> Response:
            model(work, name, version)
            check_ready()
            return Response()

        @routes.post(f"{path}/infer")
        async def inference(request: Request, name: str, version: str | None = None) -> Response:
            model(work, name, version)
            return await infer(request, name)

    return routes
