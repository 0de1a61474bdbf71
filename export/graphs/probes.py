"""Seeded inputs on which encoders are compared, and with which a server warms up. Numpy only, but for tf.Example."""

import io
import unicodedata
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scbch_keras.export.format.encoder_inputs import Input
from scbch_keras.preprocessing.text import TextPipeline

SEED = 20
BATCHES = (1, 7)
"""The first batches of a comparison, after one of no rows; all other rows are the last."""
ROWS = sum(BATCHES) + 1000
PICTURES = sum(BATCHES) + 8
_SENTENCES = sum(BATCHES) + 16
_FREE_SIZE = 64
_BYTES = 2**26


def rows_for(inputs: Mapping[str, Input]) -> int:
    """Rows to compare encoders with those inputs on: ROWS, fewer (at least 72) if those pass 64 MiB."""
    row = sum(4 * prod(_sizes(given)) for given in inputs.values())
    return min(ROWS, max(72, _BYTES // row))


def input_probes(inputs: Mapping[str, Input], rows: int) -> dict[str, NDArray[Any]]:
    """Inputs (rows, ...) by name: normal, or whole numbers that it can be; the second row and the last are zeros.

    Where whole numbers are 0 and 1, as in a mask, every row begins with a 1: an encoder may not be defined on a text
    of which everything is masked.
    """
    rng = np.random.default_rng(SEED)
    probes: dict[str, NDArray[Any]] = {}
    for name, given in inputs.items():
        shape = (rows, *_sizes(given))
        values: NDArray[Any]
        if given.dtype == "int32":
            values = rng.integers(0, given.below, shape, np.int32)
        else:
            values = rng.standard_normal(shape, np.float32)
        if rows > 1:
            values[[1, -1]] = 0
        if given.dtype == "int32" and given.below == 2:
            values.reshape(rows, -1)[:, 0] = 1
        probes[name] = values
    return probes


def _sizes(given: Input) -> list[int]:
    return [_FREE_SIZE if size is None else size for size in given.shape[1:]]


def text_probes(pipeline: TextPipeline, rows: int = ROWS, seed: int = SEED) -> list[str]:
    """Texts (rows): words of the vocabulary among unknown ones, in other cases and normal forms, parted by all
    sorts of white space and punctuation; the second and the last are empty.
    """
    rng = np.random.default_rng(seed)
    forms = (str.upper, str.title, lambda word: unicodedata.normalize("NFD", word), str)
    between = (" ", ", ", "!\u3000\u00bf", "\t", "\u00a0", "\u3000\n", "\u2028")
    texts = []
    for _ in range(rows):
        chosen = [pipeline.vocabulary[column] for column in rng.integers(pipeline.dimensions, size=12)]
        parts = [
            forms[rng.integers(len(forms))](word) for word in [*chosen, "\u1e9e\u0323\U0001fae8", "\u0378"]
        ]
        texts.append("".join(part + between[rng.integers(len(between))] for part in parts))
    if rows > 1:
        texts[1] = texts[-1] = ""
    return texts


def sentence_probes() -> list[str]:
    """Texts for an encoder whose words are not known: short and long ones, other scripts and signs; two are empty."""
    words = "a the red mug on of two small dogs house sea, old! map? café 猫 кот क ☕ №7".split()  # noqa: SIM905
    rng = np.random.default_rng(SEED)
    lengths = [3, 0, *rng.integers(1, 30, _SENTENCES - 3).tolist(), 0]
    return [" ".join(rng.choice(words, length)) for length in lengths]


def picture_probes(rows: int = PICTURES, seed: int = SEED) -> list[bytes]:
    """Picture files (rows): JPEG and PNG, of sizes from 1 x 1 on, grey, turned by EXIF, transparent. Needs Pillow."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    turned = Image.Exif()
    kinds: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("RGB", "JPEG", {}),
        ("RGBA", "PNG", {}),
        ("RGB", "JPEG", {"exif": turned}),
        ("L", "JPEG", {"quality": 95}),
        ("RGB", "PNG", {"exif": turned}),
        ("LA", "PNG", {}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("P", "PNG", {"transparency": 5}),
    )
    probes = []
    for row in range(rows):
        mode, form, options = kinds[row % len(kinds)]
        turned[0x0112] = int(rng.integers(2, 9))
        height, width = (1, 1) if row == 1 else rng.integers(2, 150, 2).tolist()
        coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 4), np.uint8)).resize((width, height))
        file = io.BytesIO()
        coarse.convert(mode).save(file, form, **options)
        probes.append(file.getvalue())
    return probes


def presence(rows: int) -> dict[str, NDArray[np.bool_]]:
    """Which of `rows` examples have which modality, in turns of four: image alone, neither, both, text alone."""
    row = np.arange(rows)
    return {"image": row % 2 == 0, "text": row // 2 % 2 == 1}


def serialized_examples(features: Mapping[str, NDArray[Any]], rows: int) -> NDArray[np.object_]:
    """tf.Example of the first `rows` rows, each with the features that `presence` says. Needs tensorflow."""
    import tensorflow as tf

    present = presence(rows)
    examples = np.empty(rows, object)
    for row in range(rows):
        lists = {
            name: tf.train.Feature(float_list=tf.train.FloatList(value=values[row].ravel()))
            for name, values in features.items()
            if present[name][row]
        }
        examples[row] = tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString()
    return examples
