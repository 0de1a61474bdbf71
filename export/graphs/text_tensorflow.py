"""Raw texts -> features as a TensorFlow graph, equal to `TextPipeline`. Needs tensorflow and tensorflow-text."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf
import tensorflow_text

from scbch_keras.preprocessing.normalization import (
    CURRENT,
    PUNCTUATION,
    SEPARATORS,
    UNASSIGNED,
    WITH_PUNCTUATION,
    grams_of,
)
from scbch_keras.preprocessing.text import TextPipeline


def _class_of(ranges: Iterable[tuple[int, int]]) -> str:
    return "[" + "".join(rf"\x{{{first:x}}}-\x{{{last:x}}}" for first, last in ranges) + "]+"


_UNASSIGNED = _class_of(UNASSIGNED)
_SEPARATOR = _class_of(SEPARATORS)
_PUNCTUATION = _class_of([(ord(character), ord(character)) for character in PUNCTUATION])
_PUNCTUATION_AT_ENDS = rf"\A{_PUNCTUATION}|{_PUNCTUATION}\z"


def vocabulary_table(pipeline: TextPipeline, path: Path) -> tf.lookup.StaticHashTable:
    """Word -> column, -1 for unknown ones, from a file with a word a line, which is written to `path`.

    A SavedModel with this table holds the file as an asset. A word holds no line break: those part words.
    """
    path.write_bytes("".join(f"{word}\n" for word in pipeline.vocabulary).encode())
    lines = tf.lookup.TextFileInitializer(
        str(path),
        tf.string,
        tf.lookup.TextFileIndex.WHOLE_LINE,
        tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
        vocab_size=pipeline.dimensions,
    )
    table = tf.lookup.StaticHashTable(lines, default_value=-1)
    # Made outside a graph it leaves None among the default graph's initializers: later exports warn of it.
    initializers = tf.compat.v1.get_collection_ref(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
    initializers[:] = [initializer for initializer in initializers if initializer is not None]
    return table


def features_function(pipeline: TextPipeline, table: tf.lookup.StaticHashTable) -> Callable[[Any], Any]:
    """A function of UTF-8 strings (n,) to what `pipeline` gives, float32 (n, dimensions). Errors as in `words`."""

    def features(text: Any) -> Any:
        tokens = words(text, pipeline.normalization)
        columns = table.lookup(tokens.flat_values)
        places = tf.stack([tokens.value_rowids(), columns], axis=1)[columns >= 0]
        shape = tf.stack([tokens.nrows(), pipeline.dimensions])
        counts = tf.scatter_nd(places, tf.ones(tf.shape(places)[:1]), shape)
        counts = tf.ensure_shape(counts, (None, pipeline.dimensions))
        if pipeline.weighting == "presence":
            return tf.minimum(counts, 1)
        if pipeline.idf is None:
            return counts
        weighted = tf.cast(counts, tf.float64) * tf.constant(pipeline.idf)
        length = tf.sqrt(tf.reduce_sum(tf.square(weighted), axis=1, keepdims=True))
        return tf.cast(tf.math.divide_no_nan(weighted, length), tf.float32)

    return features


def words(text: Any, normalization: str = CURRENT) -> Any:
    """UTF-8 strings (n,) -> their words, ragged (n, words), as `scbch_keras.preprocessing.normalization.words` does.

    Strings that are no valid UTF-8 are an error of the graph (InvalidArgumentError).
    """
    base, grams = grams_of(normalization)
    if grams is not None:
        characters = tf.strings.unicode_split(words(text, base), "UTF-8")
        # A word that is shorter than the least is one itself: "preserve_short_sequences".
        ngrams = tf.strings.ngrams(
            characters, tuple(range(grams[0], grams[1] + 1)), separator="", preserve_short_sequences=True
        )
        return ngrams.merge_dims(1, 2)
    text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="strict")
    # A separator like the space, but one at which regex_split takes a string to end.
    text = tf.strings.regex_replace(text, r"\x{0}", " ")
    stretches = tensorflow_text.regex_split(text, _UNASSIGNED, _UNASSIGNED)
    flat = stretches.flat_values
    folded = tensorflow_text.case_fold_utf8(tensorflow_text.normalize_utf8(flat, "NFKC"))
    flat = tf.where(tf.strings.regex_full_match(flat, _UNASSIGNED), flat, folded)
    joined = tf.strings.reduce_join(stretches.with_flat_values(flat), axis=-1)
    # The whitespace tokenizer leaves the first bytes of a multi-byte space in the word before it.
    parts = tensorflow_text.regex_split(joined, _SEPARATOR)
    if normalization == WITH_PUNCTUATION:
        return parts
    trimmed = tf.strings.regex_replace(parts.flat_values, _PUNCTUATION_AT_ENDS, "")
    return tf.ragged.boolean_mask(parts.with_flat_values(trimmed), parts.with_flat_values(trimmed != ""))
