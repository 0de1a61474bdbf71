"""A small model with a vocabulary and its release, which the serving benchmarks open; and an encoder by hand."""

from pathlib import Path
from typing import Any

import numpy as np

from scbch_keras.export import TextPipeline

BITS, IMAGE, HIDDEN = 64, 512, 256
PIPELINE = TextPipeline([f"word{number}" for number in range(200)], "counts")


def strings(count: int, seed: int = 0) -> list[str]:
    """Texts of 0 to 8 words, known and unknown."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, count)
    return [" ".join(f"Word{word}" for word in rng.integers(0, 220, length)) for length in lengths]


def images(count: int, seed: int = 0) -> np.ndarray:
    """Image features, float32 (count, IMAGE)."""
    return np.random.default_rng(seed).standard_normal((count, IMAGE), np.float32)


def small_model() -> Any:
    """A built model with random weights, on the backend of this process."""
    import keras

    import scbch_keras as sk

    keras.utils.set_random_seed(0)
    branches = {
        f"{modality}_branch": sk.HashBranch(BITS, (HIDDEN,), name=f"{modality}_branch")
        for modality in ("image", "text")
    }
    model = sk.SCBCH(BITS, num_classes=4, neighbors=10, warmup_epochs=1, **branches)
    model.build({"image": (None, IMAGE), "text": (None, PIPELINE.dimensions)})
    return model


def release_small_model(folder: Path) -> Path:
    """Release the small model into `folder`; returns the folder of the version."""
    from scbch_keras.export import release

    return release(small_model(), folder, text=PIPELINE).path


def sign_graph(name: str, kind: str, shape: list[Any], weights: np.ndarray) -> Any:
    """An ONNX encoder written by hand: flatten, matrix product, tanh, bits, bytes.

    Args:
        name: of its input.
        kind: the input's type, of `onnx.TensorProto`: "FLOAT" or "UINT8".
        shape: the input's; names are free sizes.
        weights: float32 (columns of the flat input, bits).
    """
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    bits = weights.shape[1]
    width = -(-bits // 8)
    packing = np.zeros((bits, width), np.float32)
    packing[np.arange(bits), np.arange(bits) // 8] = 2.0 ** (7 - np.arange(bits) % 8)
    nodes = [
        helper.make_node("Cast", [name], ["real"], to=kinds.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Tanh", ["product"], ["codes"]),
        helper.make_node("Greater", ["codes", "zero"], ["positive"]),
        helper.make_node("Cast", ["positive"], ["ones"], to=kinds.FLOAT),
        helper.make_node("MatMul", ["ones", "p"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["packed_codes"], to=kinds.UINT8),
    ]
    constants = {"w": weights, "p": packing, "zero": np.float32(0)}
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(name, getattr(kinds, kind), shape)],
        [
            helper.make_tensor_value_info("packed_codes", kinds.UINT8, ["batch", width]),
            helper.make_tensor_value_info("codes", kinds.FLOAT, ["batch", bits]),
        ],
        [onnx.numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
