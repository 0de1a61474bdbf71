"""Pixels -> pixels of one size, and -> grey features, as a TensorFlow graph, equal to `pictures`."""

from typing import Any

import tensorflow as tf

from scbch_keras.preprocessing.pictures import GREY, LEVELS, PRECISION, Size

_ONE = 2.0**PRECISION


def resize(pictures: Any, size: Size) -> Any:
    """Pictures uint8 (n, h, w, 3) -> float64 (n, height, width, 3), whole numbers 0 to 255, as `pictures.resized`.

    h and w are free. Sums of whole numbers below 2^53 are exact in float64, in any order: the pixels are Pillow's,
    bit for bit, on every runtime.
    """
    height, width = size
    shape = tf.shape(pictures)
    planes = tf.cast(tf.transpose(pictures, (0, 3, 1, 2)), tf.float64)
    planes = _rounded(tf.matmul(planes, _coefficients(shape[2], width), transpose_b=True))
    planes = _rounded(tf.matmul(_coefficients(shape[1], height), planes))
    return tf.ensure_shape(tf.transpose(planes, (0, 2, 3, 1)), (None, height, width, 3))


def grey_features(pixels: Any) -> Any:
    """Pixels float64 (n, h, w, 3), whole numbers -> float32 (n, h * w), as `pictures.grey_features`."""
    weighted = tf.reduce_sum(pixels * tf.constant(GREY, tf.float64), axis=-1)
    grey = tf.cast(tf.floor((weighted + 0x8000) / 2.0**16), tf.int32)
    return tf.gather(tf.constant(LEVELS), tf.reshape(grey, (-1, pixels.shape[1] * pixels.shape[2])))


def _coefficients(source: Any, target: int) -> Any:
    """How much of each of the `source` pixels, of 2^22, is in each target one: float64 (target, source)."""
    # Not `/`: TensorFlow's optimizer makes of it a product with the reciprocal, which rounds otherwise.
    scale = tf.math.divide_no_nan(tf.cast(source, tf.float64), tf.constant(target, tf.float64))
    centers = (tf.range(target, dtype=tf.float64) + 0.5) * scale
    places = tf.range(tf.cast(source, tf.float64), dtype=tf.float64)
    shrinks = tf.math.divide_no_nan(tf.constant(1, tf.float64), tf.maximum(scale, 1))
    weights = tf.maximum(1 - tf.abs((places - centers[:, None] + 0.5) * shrinks), 0)
    # Pillow adds up from the left.
    total = tf.cumsum(weights, axis=1)[:, -1:]
    return tf.floor(tf.math.divide_no_nan(weights, total) * _ONE + 0.5)


def _rounded(sums: Any) -> Any:
    return tf.clip_by_value(tf.floor((sums + _ONE / 2) / _ONE), 0, 255)
