"""What a branch's body takes and gives: one input or several named ones, and one output (n, d)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from scbch_keras.features import Features, Shape, arrays_of, check_whole, input_name


class BodyInput(NamedTuple):
    """One declared input: its shape, batch first and None, and its dtype."""

    shape: tuple[int | None, ...]
    dtype: str


class BodyInputs:
    """The inputs of a `keras.Model`, as far as it knows them before it is called.

    named: name -> `BodyInput` where the body has several inputs or takes a dict; else None.
    single: the one input, where it is known.
    """

    def __init__(self, body: keras.Model | None) -> None:
        self.named: dict[str, BodyInput] | None = None
        self.single: BodyInput | None = None
        self._listed: type[list[Any]] | type[tuple[Any, ...]] | None = None
        structure = _ends_of(body, "input")
        if structure is None:
            return
        if isinstance(structure, Mapping):
            parts = dict(structure)
        elif isinstance(structure, list | tuple) and len(structure) > 1:
            self._listed = list
            parts = {getattr(part, "name", str(place)): part for place, part in enumerate(structure)}
        else:
            (tensor,) = keras.tree.flatten(structure)
            self.single = _declared(tensor)
            return
        nested = [name for name, part in parts.items() if not isinstance(part, keras.KerasTensor)]
        if nested:
            raise ValueError(
                f"body must have one input or several named ones, a dict or a list of tensors; {nested[0]!r} is a "
                f"{type(parts[nested[0]]).__name__} of inputs. Give each of them a name of its own at the top."
            )
        self.named = {str(name): _declared(part) for name, part in parts.items()}

    @property
    def known(self) -> bool:
        """Whether the body declares its inputs."""
        return self.named is not None or self.single is not None

    @property
    def shape(self) -> Shape:
        """The declared shapes. Only where they are known."""
        if self.named is not None:
            return {name: declared.shape for name, declared in self.named.items()}
        return self.single.shape  # type: ignore[union-attr]

    def tensors_of(self, body: keras.Model) -> dict[str, Any]:
        """The symbolic inputs of the body by name. Only where they are named."""
        structure = body.input
        if isinstance(structure, Mapping):
            return dict(structure)
        return dict(zip(self.named or (), structure, strict=True))

    def arranged(self, inputs: Any) -> Any:
        """Tensors or shapes by name, in the order in which a body made of a list takes them."""
        if self._listed is None or self.named is None or not isinstance(inputs, Mapping):
            return inputs
        return [inputs[name] for name in self.named]

    def check_whole(self, name: str, features: Features, first_row: int = 0) -> None:
        """Refuse fractions where the body declares integers: Keras would cut them off.

        Raises:
            ValueError: names the input and the first row.
        """
        declared = {name: self.single} if self.named is None else _shown(name, self.named)
        for shown, values in arrays_of(name, features):
            wanted = declared.get(shown)
            if wanted is not None and "int" in wanted.dtype:
                check_whole(shown, values, wanted.dtype, first_row)


def _shown(name: str, named: dict[str, BodyInput]) -> dict[str, BodyInput]:
    return {input_name(name, key): declared for key, declared in named.items()}


def _declared(tensor: Any) -> BodyInput:
    return BodyInput((None, *tensor.shape[1:]), keras.backend.standardize_dtype(tensor.dtype))


def _ends_of(body: keras.Model | None, side: str) -> Any:
    """Its symbolic `input` or `output`; None where it has none before it is called."""
    try:
        # A Sequential has them in a list alone.
        return getattr(body, side) if hasattr(body, side) else getattr(body, f"{side}s")[0]
    except (AttributeError, ValueError, IndexError, TypeError):
        return None


def check_output(body: keras.Model) -> None:
    """Refuse a body whose output is known and is not (n, d). Raises ValueError."""
    output = _ends_of(body, "output")
    if output is not None:
        shape = keras.tree.map_structure(lambda tensor: tuple(tensor.shape), output)
        check_output_shape(shape, BodyInputs(body))


def check_output_shape(shape: Any, inputs: BodyInputs) -> int:
    """The width d of a body's output (n, d).

    Args:
        shape: of the output, or of each of several.
        inputs: of the body; one with "mask" in its name tells tokens from padding.

    Raises:
        ValueError: several outputs, or another shape; how to make it one, where that is known.
    """
    # The body is called as one layer: a model of its inner tensors is saved layer by layer, and not every backbone's
    # layers can be loaded so.
    if isinstance(shape, list | tuple) and len(shape) > 1 and not _is_shape(shape):
        shape = dict(enumerate(shape))
    if isinstance(shape, Mapping):
        name = next((name for name in shape if "pool" in str(name)), next(iter(shape), "NAME"))
        raise ValueError(
            f"body must have one output of shape (n, d); got {len(shape)}: {', '.join(map(repr, shape))}. Choose one, "
            f"keras.Model(body.input, body(body.input)[{name!r}]), and pool it if it has a row a token."
        )
    if _is_shape(shape) and len(shape) == 2 and isinstance(shape[-1], int):
        return int(shape[-1])
    remedy = ""
    if _is_shape(shape) and 3 <= len(shape) <= 5:
        made_of = "body.input" if inputs.known else "inputs"
        mask = next((f", mask=body.input[{name!r}]" for name in inputs.named or () if "mask" in name), "")
        pooling = f"keras.layers.GlobalAveragePooling{len(shape) - 2}D()"
        remedy = f" Pool it: keras.Model({made_of}, {pooling}(body({made_of}){mask}))"
        if len(shape) == 3:
            remedy += f", or take the first token's vector, keras.Model({made_of}, body({made_of})[:, 0])"
        remedy += "." if inputs.known else "; inputs are the keras.Input of what it takes."
    raise ValueError(f"body must have one output of shape (n, d) with a known d; got {shape}.{remedy}")


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, tuple) and all(size is None or isinstance(size, int) for size in shape)
