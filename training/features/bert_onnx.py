"""A BERT encoder in safetensors, as sentence-transformers keeps it -> an ONNX file. Needs torch; a program of its own.

python -m scbch_keras.training.features.bert_onnx FOLDER OUT
"""

import argparse
import json
import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

from scbch_keras.files import hidden_sibling, read_bytes, stored_json

_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 2**26
_BESIDE = ("tokenizer.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json")


def read_safetensors(path: Path) -> dict[str, Any]:
    """Tensors of a .safetensors file by name, those of float32. Raises ValueError for a damaged file."""
    import torch

    content = read_bytes(path, 2**34)
    try:
        (length,) = _LENGTH.unpack(content[: _LENGTH.size])
        start = _LENGTH.size + length
        if length > _MAX_HEADER:
            raise ValueError(f"its header has {length} bytes")
        header = json.loads(content[_LENGTH.size : start])
        tensors = {}
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] == "F32":
                first, end = entry["data_offsets"]
                values = torch.frombuffer(
                    bytearray(content[start + first : start + end]), dtype=torch.float32
                )
                tensors[name] = values.reshape(entry["shape"])
    except (struct.error, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path}: expected a .safetensors file: {error}") from error
    return tensors


def bert(folder: Path) -> Any:
    """The torch module of a folder with config.json and model.safetensors: ids, mask and types (n, t) -> (n, t, d).

    Raises ValueError for a network of another kind.
    """
    import torch
    from torch.nn import functional

    config = stored_json(folder / "config.json")
    if (kind := config.get("model_type")) != "bert" or config.get("hidden_act") != "gelu":
        raise ValueError(
            f"{folder / 'config.json'}: expected model_type bert with hidden_act gelu, got {kind} with "
            f"{config.get('hidden_act')}; optimum-cli export onnx --model {folder} OUT exports other networks"
        )
    weights = read_safetensors(folder / "model.safetensors")
    prefix = "" if "embeddings.word_embeddings.weight" in weights else "bert."
    heads, layers, width = (
        int(config[key]) for key in ("num_attention_heads", "num_hidden_layers", "hidden_size")
    )
    epsilon = float(config["layer_norm_eps"])

    class Bert(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = torch.nn.ParameterDict(
                {name.replace(".", "/"): torch.nn.Parameter(value) for name, value in weights.items()}
            )

        def of(self, name: str) -> Any:
            return self.held[f"{prefix}{name}".replace(".", "/")]

        def dense(self, x: Any, name: str) -> Any:
            return functional.linear(x, self.of(f"{name}.weight"), self.of(f"{name}.bias"))

        def norm(self, x: Any, name: str) -> Any:
            return functional.layer_norm(
                x, (width,), self.of(f"{name}.weight"), self.of(f"{name}.bias"), epsilon
            )

        def split(self, x: Any) -> Any:
            return x.reshape(x.shape[0], x.shape[1], heads, width // heads).transpose(1, 2)

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            places = self.of("embeddings.position_embeddings.weight")[: input_ids.shape[1]]
            x = functional.embedding(input_ids, self.of("embeddings.word_embeddings.weight"))
            x = x + functional.embedding(token_type_ids, self.of("embeddings.token_type_embeddings.weight"))
            x = self.norm(x + places, "embeddings.LayerNorm")
            hidden = (1 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            for layer in range(layers):
                at = f"encoder.layer.{layer}"
                query, key, value = (
                    self.split(self.dense(x, f"{at}.attention.self.{name}"))
                    for name in ("query", "key", "value")
                )
                scores = query @ key.transpose(-1, -2) / (width // heads) ** 0.5 + hidden
                mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
                x = self.norm(
                    self.dense(mixed, f"{at}.attention.output.dense") + x, f"{at}.attention.output.LayerNorm"
                )
                inner = functional.gelu(self.dense(x, f"{at}.intermediate.dense"))
                x = self.norm(self.dense(inner, f"{at}.output.dense") + x, f"{at}.output.LayerNorm")
            return x

    return Bert().eval()


def export(
    module: Any, examples: tuple[Any, ...], path: Path, inputs: dict[str, tuple[str, ...]], output: str
) -> None:
    """Write a torch module as an ONNX file, whole or not at all.

    inputs: name -> names of its free first axes; the output has the first of these.
    """
    import torch

    free = {name: dict(enumerate(axes)) for name, axes in inputs.items()}
    free[output] = dict(enumerate(next(iter(inputs.values()))))
    beside = hidden_sibling(path)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            # The exporter that is the default needs onnxscript, and warns where one does without.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                examples,
                str(beside),
                input_names=list(inputs),
                output_names=[output],
                dynamic_axes=free,
                opset_version=17,
                dynamo=False,
            )
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def convert(folder: Path, out: Path) -> None:
    """Write model.onnx of the BERT encoder in `folder`, and copy what `TextEncoder.open` reads beside.

    Raises ValueError for a network of another kind.
    """
    import torch

    module = bert(folder)
    for name in _BESIDE:
        if (folder / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, out / name)
    ids = torch.tensor([[101, 102, 103], [101, 103, 102]])
    axes: dict[str, tuple[str, ...]] = dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), ("batch", "tokens")
    )
    examples = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    export(module, examples, out / "model.onnx", axes, "last_hidden_state")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    convert(arguments.folder, arguments.out)
