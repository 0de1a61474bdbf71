"""Small encoders as folders: an ONNX file of a few nodes, a tokenizer of a few words, and their settings."""

import json

import numpy as np
import pytest

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "green", "mug", "dog", "of", "sea", "the")
WIDTH = 6


def tokenizer(folder, longest=None, added=True):
    """tokenizer.json of `WORDS`, split at white space."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if added:
        special = [("[CLS]", 2), ("[SEP]", 3)]
        made.post_processor = tokenizers.processors.TemplateProcessing(
            "[CLS] $A [SEP]", special_tokens=special
        )
    if longest:
        made.enable_truncation(longest)
    made.enable_padding(length=16)  # as models are often saved; no row may depend on it
    made.save(str(folder / "tokenizer.json"))


def tokens_onnx(
    path, *, axes=("batch", "tokens"), names=("input_ids", "attention_mask"), kind="INT64", rank=3
):
    """Tokens -> vectors that depend on their neighbours (a running sum), (n, t, d), or their sums (n, d)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kinds, helper = onnx.TensorProto, onnx.helper
    table = np.random.default_rng(0).standard_normal((len(WORDS), WIDTH)).astype("float32")
    ids = next(name for name in names if "mask" not in name)
    nodes = [
        helper.make_node("Gather", ["table", ids], ["vectors"]),
        helper.make_node("CumSum", ["vectors", "one"], ["running"]),
        helper.make_node("ReduceSum", ["running", "axis"], ["summed"], keepdims=0),
        *(helper.make_node("Identity", [name], [f"unused_{name}"]) for name in names),
        helper.make_node("Identity", ["running" if rank == 3 else "summed"], ["last_hidden_state"]),
    ]
    shape = [axes[0], axes[1], WIDTH] if rank == 3 else [axes[0], WIDTH]
    constants = [
        onnx.numpy_helper.from_array(value, name)
        for name, value in {"table": table, "one": np.array(1), "axis": np.array([1])}.items()
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info(name, getattr(kinds, kind), list(axes)) for name in names],
        [helper.make_tensor_value_info("last_hidden_state", kinds.FLOAT, shape)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def text_encoder(folder, settings=None, **options):
    """The folder of a text encoder; settings {}: none are written."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer(folder)
    tokens_onnx(folder / "model.onnx", **options)
    settings = {"pooling": "mean", "max_tokens": 8} if settings is None else settings
    if settings:
        (folder / "encoder.json").write_text(json.dumps(settings))
    return folder


def image_encoder(folder, settings=None, first=True, shape=None):
    """The folder of an image encoder: a strided convolution, (n, 4, h, w), or with `first` false (n, h, w, 4)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kinds, helper = onnx.TensorProto, onnx.helper
    weights = np.random.default_rng(1).standard_normal((4, 3, 4, 4)).astype("float32")
    turn = [] if first else [helper.make_node("Transpose", ["pixels"], ["turned"], perm=[0, 3, 1, 2])]
    back = [] if first else [helper.make_node("Transpose", ["maps"], ["features"], perm=[0, 2, 3, 1])]
    source, result = ("pixels", "features") if first else ("turned", "maps")
    conv = helper.make_node("Conv", [source, "weights"], [result], strides=[4, 4])
    shape = shape or (["n", 3, "h", "w"] if first else ["n", "h", "w", 3])
    graph = helper.make_graph(
        [*turn, conv, *back],
        "pictures",
        [helper.make_tensor_value_info("pixels", kinds.FLOAT, shape)],
        [helper.make_tensor_value_info("features", kinds.FLOAT, None)],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        folder / "model.onnx",
    )
    if settings is None:
        settings = {"size": [12, 8], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "pooling": "mean"}
    (folder / "encoder.json").write_text(json.dumps(settings))
    return folder
