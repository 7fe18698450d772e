"""What examples cost a network that is trained: by classes, labels or numbers.

A target that is missing, NaN, costs nothing: losses are means over what is known.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tl_pipeline.tasks import Loss


def batch_loss(
    loss: Loss,
    outputs: jax.Array,
    targets: jax.Array,
    weight: jax.Array,
    *,
    smoothing: float,
) -> jax.Array:
    """Returns the mean loss of a batch, a scalar.

    Args:
      loss: `softmax`: cross-entropy of shares of classes; `sigmoid`: of each label
        apart; `squared`: the squared difference.
      outputs: [B, K] float32.
      targets: [B, K] float32; NaN where a label or number is missing.
      weight: [B] float32.
      smoothing: Share of a target that is spread evenly; not of numbers.
    """
    if loss == "softmax":
        smoothed = optax.smooth_labels(targets, smoothing)
        losses = optax.softmax_cross_entropy(outputs, smoothed)
        return (losses * weight).sum() / jnp.maximum(weight.sum(), 1e-12)
    is_known = ~jnp.isnan(targets)
    # Put in before the loss is taken: of NaN, a gradient of 0 times NaN would be left.
    known = jnp.where(is_known, targets, 0)
    if loss == "sigmoid":
        known = (1 - smoothing) * known + smoothing / 2
        losses = optax.sigmoid_binary_cross_entropy(outputs, known)
    else:
        losses = jnp.square(outputs - known)
    counts = is_known * weight[:, None]
    return (losses * counts).sum() / jnp.maximum(counts.sum(), 1e-12)


def mean_loss(loss: Loss, outputs: np.ndarray, targets: np.ndarray) -> float:
    """Returns the mean loss of outputs [N, K] at targets [N, K], in float64.

    Example:
      >>> mean_loss("squared", np.zeros((2, 1)), np.array([[2.0], [np.nan]]))
      4.0
    """
    exact = outputs.astype(np.float64)
    if loss == "softmax":
        exact = exact - exact.max(axis=1, keepdims=True)
        shares = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
        return float(-(shares * targets).sum(axis=1).mean())
    known = ~np.isnan(targets)
    exact, told = exact[known], targets[known].astype(np.float64)
    if loss == "sigmoid":
        return float((np.logaddexp(0, exact) - told * exact).mean())
    return float(np.square(exact - told).mean())
