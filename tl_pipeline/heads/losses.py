"""What a row costs a gradient-trained head, by task; missing targets cost nothing."""

import jax
import jax.numpy as jnp
import optax

from tl_pipeline.tasks import Loss


def row_losses(
    loss: Loss,
    outputs: jax.Array,
    targets: jax.Array,
    *,
    column_weight: jax.Array,
    smoothing: jax.Array,
) -> jax.Array:
    """Returns the loss [B] of each row of one head.

    Args:
      loss: `softmax`: cross-entropy of classes; `sigmoid`: the sum of each column's;
        `squared`: the sum of half the squared differences.
      outputs: [K, B].
      targets: [B] integer, -1 where missing; else [K, B] floating, NaN where missing.
      column_weight: [K], of columns; not of classes, whose rows have weights.
      smoothing: The share of a target that is spread; not of numbers.
    """
    if loss == "softmax":
        # A gather's gradient is a scatter, which takes longer than the layers.
        is_own = jnp.arange(len(outputs))[:, None] == targets
        own = jnp.where(is_own, outputs, 0).sum(axis=0)
        aimed = (1 - smoothing) * own + smoothing * outputs.mean(axis=0)
        losses = jax.nn.logsumexp(outputs, axis=0) - aimed
        return jnp.where(targets < 0, 0, losses)
    is_known = ~jnp.isnan(targets)
    known = jnp.where(is_known, targets, 0)
    if loss == "sigmoid":
        known = (1 - smoothing) * known + smoothing / 2
        losses = optax.sigmoid_binary_cross_entropy(outputs, known)
    else:
        losses = jnp.square(outputs - known) / 2
    return jnp.where(is_known, losses * column_weight[:, None], 0).sum(axis=0)
