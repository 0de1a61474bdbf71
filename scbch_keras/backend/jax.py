"""The gradient step on JAX: stateless, (state, data) -> (logs, state)."""

import jax
import jax.numpy as jnp
import keras

JIT = True
JIT_PREDICT = True


def train_step(model, state, data):
    """One update from one batch; a non-finite loss or gradient changes nothing but the count of skips."""
    weights, other_variables, optimizer_variables, metrics_variables = state
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    objective = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
    (_, (loss, y_pred, other_variables, metrics_variables)), gradients = objective(
        weights,
        other_variables,
        metrics_variables,
        x,
        y,
        sample_weight,
        training=True,
        optimizer_variables=optimizer_variables,
    )
    # Row sums are finite where the rows are and cost one read; a mask would be as large as the weights.
    sums = [loss, *(jnp.atleast_1d(gradient).sum(axis=-1) for gradient in gradients)]
    finite = jnp.stack([jnp.isfinite(values).all() for values in sums]).all()

    def update(optimizer_variables, weights):
        decayed = [gradient + model.l2 * weight for gradient, weight in zip(gradients, weights, strict=True)]
        weights, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, decayed, weights)
        return optimizer_variables, weights

    state = optimizer_variables, weights
    if model.optimizer_skips:
        state = update(*state)
    else:
        state = jax.lax.cond(finite, update, lambda *unchanged: unchanged, *state)
    optimizer_variables, weights = state

    with keras.StatelessScope(list(zip(model.metrics_variables, metrics_variables, strict=True))) as scope:
        model.track_step(loss, finite, y)
        logs = model.compute_metrics(x, y, y_pred, sample_weight)
    metrics_variables = [scope.get_current_value(variable) for variable in model.metrics_variables]
    return logs, (weights, other_variables, optimizer_variables, metrics_variables)
