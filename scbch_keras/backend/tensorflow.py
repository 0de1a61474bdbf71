"""The gradient step on TensorFlow."""

import keras
import tensorflow as tf

JIT = True
# XLA compiles anew for every number of rows, which takes seconds; the step has two such numbers at most.
JIT_PREDICT = False


def train_step(model, data):
    """One update from one batch; a non-finite loss or gradient changes nothing but the count of skips."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    optimizer = model.optimizer
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True)
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        scaled_loss = optimizer.scale_loss(loss)
    weights = model.trainable_weights
    gradients = [
        None if gradient is None else tf.convert_to_tensor(gradient)
        for gradient in tape.gradient(scaled_loss, weights)
    ]
    # Row sums are finite where the rows are and cost one read; a mask would be as large as the weights.
    sums = [loss]
    for gradient in gradients:
        if gradient is not None:
            sums.append(tf.reduce_sum(gradient, axis=-1) if gradient.shape.rank else gradient)
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(values)) for values in sums])
    if not optimizer.built:
        with tf.init_scope():
            optimizer.build(weights)

    def update():
        decayed = [
            gradient if gradient is None else gradient + model.l2 * tf.cast(weight.value, gradient.dtype)
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
        optimizer.apply(decayed, weights)
        return finite

    if model.optimizer_skips:
        update()
    else:
        tf.cond(finite, update, lambda: finite)
    model.track_step(loss, finite, y)
    return model.compute_metrics(x, y, y_pred, sample_weight)
