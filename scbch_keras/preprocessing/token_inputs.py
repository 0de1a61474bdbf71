"""Tokens of texts, and what an encoder's files say of them: its inputs, and sentence-transformers' settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scbch_keras.files import loads, stored_json
from scbch_keras.preprocessing.encoder_files import check_count
from scbch_keras.stored import FileKind

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_AXES = ("batch", "tokens")


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text; its length is how many different ones the network knows."""

    ids: tuple[int, ...]
    known: int

    def __len__(self) -> int:
        return self.known


def not_here(outputs: list[str], inputs: Mapping[str, Any]) -> list[Any]:
    """In the place of a session that does not travel. Raises ValueError."""
    raise ValueError("an encoder that was pickled parts texts into tokens, and has no network to run")


def check_inputs(source: Any, inputs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a network that takes something else than tokens, or tokens of one number only. Raises ValueError."""
    if "input_ids" not in inputs or not set(inputs) <= set(INPUTS):
        raise ValueError(
            f"{source}: expected the inputs input_ids and, if need be, {' and '.join(INPUTS[1:])}, got "
            f"{', '.join(inputs)}: export the network with those names alone"
        )
    for name, tensor in inputs.items():
        if tensor["dtype"] not in ("int64", "int32") or len(tensor["shape"]) != 2:
            raise ValueError(
                f"{source}: expected {name} of int64 or int32 (batch, tokens), got {tensor['dtype']} "
                f"{tensor['shape']}"
            )
        for axis, size in enumerate(tensor["shape"]):
            if size is not None:
                free = dict(enumerate(_AXES))
                raise ValueError(
                    f"{source}: axis {axis} ({_AXES[axis]}) of {name} is fixed at {size}, and must be free: export "
                    f"it with dynamic_axes={{{name!r}: {free}}}"
                )


def sentence_transformers(folder: Path) -> dict[str, Any]:
    """Pooling, normalisation and length as sentence-transformers keeps them. Raises ValueError for other poolings."""
    chosen: dict[str, Any] = {}
    modules, lengths, config = (
        folder / name for name in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json")
    )
    with FileKind("files of sentence-transformers", "", ()).reading(folder):
        if modules.is_file():
            parts = [module["type"].rsplit(".", 1)[-1] for module in stored_json(modules)]
            if others := [part for part in parts if part not in ("Transformer", "Pooling", "Normalize")]:
                raise ValueError(f"{modules.name} has {others[0]}, which is not computed here")
            chosen["normalize"] = "Normalize" in parts
        if lengths.is_file() and (longest := stored_json(lengths).get("max_seq_length")) is not None:
            chosen["max_tokens"] = check_count("max_seq_length", longest)
        if config.is_file():
            modes = [
                key for key, value in stored_json(config).items() if "pooling_mode_" in key and value is True
            ]
            poolings = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
            if len(modes) != 1 or modes[0] not in poolings:
                raise ValueError(
                    f"{config}: expected one of {', '.join(poolings)}, got {', '.join(modes) or 'none'}"
                )
            chosen["pooling"] = poolings[modes[0]]
    return chosen


def truncation(tokenizer: bytes, file: Path) -> int | None:
    """The length to which a tokenizer.json says that it cuts, if it does."""
    with FileKind("a file of the package tokenizers", "", ()).reading(file):
        settings = loads(tokenizer).get("truncation")
        return None if settings is None else check_count("max_length", settings["max_length"])
