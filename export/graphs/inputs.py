"""What the encoders of a model take: names, shapes, types, and which values they can be compared on."""

import re
from collections.abc import Mapping
from typing import Any

import keras

from scbch_keras.export.format.encoder_inputs import Input
from scbch_keras.modalities import MODALITIES

_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")
_MASK = 2
_PIXEL = 256


def encoder_inputs(model: Any) -> dict[str, dict[str, Input]]:
    """Modality -> its inputs by name; the one input of a branch has the modality's. The model must be built.

    Raises:
        ValueError: a branch with several inputs whose types are not known, or with names that servers do not take.
    """
    shapes = model.get_build_config()["input_shape"]
    return {modality: _inputs(model, modality, shapes[modality]) for modality in MODALITIES}


def is_named(model: Any, modality: str) -> bool:
    """Whether the branch takes a dict."""
    return isinstance(model.get_build_config()["input_shape"][modality], Mapping)


def described_inputs(model: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """`encoder_inputs` as a manifest has them."""
    return {
        modality: {name: {"shape": given.shape, "dtype": given.dtype} for name, given in inputs.items()}
        for modality, inputs in encoder_inputs(model).items()
    }


def _inputs(model: Any, modality: str, shape: Any) -> dict[str, Input]:
    branch = getattr(model, f"{modality}_branch")
    declared = branch.inputs
    if not isinstance(shape, Mapping):
        dtype = "float32" if declared.single is None else declared.single.dtype
        tensor = None if declared.single is None else branch.body.inputs[0]
        return {modality: _input(shape, dtype, tensor)}
    if declared.named is None:
        raise ValueError(
            f"the {modality} branch has the inputs {', '.join(shape)}, and its body does not declare their types: "
            "make it of tensors, keras.Model(inputs, output), around the model that is there"
        )
    if odd := [name for name in shape if not _NAME.fullmatch(name)]:
        raise ValueError(
            f"the {modality} branch has an input {odd[0]!r}; servers take names of letters A-Z and a-z, digits and _"
        )
    tensors = branch.inputs.tensors_of(branch.body)
    return {name: _input(sizes, declared.named[name].dtype, tensors[name]) for name, sizes in shape.items()}


def _input(shape: Any, dtype: str, tensor: Any) -> Input:
    is_whole = "int" in dtype or dtype == "bool"
    below = min(_rooms(tensor), default=_PIXEL if dtype == "uint8" else _MASK) if is_whole else 0
    return Input([None, *shape[1:]], "int32" if is_whole else "float32", below)


def _rooms(tensor: Any) -> list[int]:
    """What the embeddings of an input have room for; none where it is a mask, or a pixel."""
    rooms: list[int] = []
    for node in tensor._keras_history.operation._outbound_nodes:
        user = node.operation
        if isinstance(user, keras.Model) and user.inputs:
            for outside, inside in _passed(user, node.arguments.args[0]):
                # Of a model called on its own inputs the users within are nodes of the same tensor.
                if outside is tensor and inside is not tensor:
                    rooms += _rooms(inside)
        elif isinstance(user, keras.layers.Layer):
            layers = user._flatten_layers()
            rooms += [int(layer.input_dim) for layer in layers if isinstance(layer, keras.layers.Embedding)]
    return rooms


def _passed(model: keras.Model, inputs: Any) -> list[tuple[Any, Any]]:
    """Tensors that a model was called on, each with the input of its own that it becomes."""
    if isinstance(inputs, Mapping) and isinstance(model.input, Mapping):
        return [(inputs[name], inside) for name, inside in model.input.items() if name in inputs]
    return list(zip(keras.tree.flatten(inputs), model.inputs, strict=False))
