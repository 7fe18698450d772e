"""The objective of many multinomial logistic regressions, in margins.

Arrays of logits are [M, K, N]: with examples innermost, the softmax over a few classes
still runs in full vector width. They are kept as margins, with each example's target
logit subtracted, so that small losses keep their digits; the target's own row holds
minus infinity, and its term, exp(0), is put in by hand. Smoothing adds what is linear
in the margins: a share of a target, spread evenly over the classes that are present.
"""

import operator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Problem(NamedTuple):
    """What one chunk of heads is fitted to, but for the strength of the penalty.

    Attributes:
      features: [N, D] float32, shared by all heads; best along their principal axes.
      targets: [N] int32 class indices.
      weights: [M, N] float32, each row adding up to 1; 0 leaves an example out.
      present: [M, K] bool, the classes with a row of weight above 0.
      squares: [D] float32, the mean square of each feature.
      smoothing: Scalar float32, the share that is spread; None: none is, at no cost.
    """

    features: jax.Array
    targets: jax.Array
    weights: jax.Array
    present: jax.Array
    squares: jax.Array
    smoothing: jax.Array | None = None


class Parameters(NamedTuple):
    """The parameters of M heads, or a change or gradient of them."""

    kernel: jax.Array  # [M, K, D]
    bias: jax.Array  # [M, K]


class Slopes(NamedTuple):
    """The first derivative of the mean cross-entropy, and the size of the second.

    With `spread` s, the second is near s * squares for a kernel and s for a bias.
    """

    gradient: Parameters
    spread: jax.Array  # [M, K] mean p * (1 - p)


def is_target(problem: Problem) -> jax.Array:
    """Returns [1, K, N] bool: which logit is an example's own."""
    n_classes = problem.present.shape[1]
    return (jnp.arange(n_classes)[:, None] == problem.targets)[None]


def margins_of(problem: Problem, parameters: Parameters) -> jax.Array:
    """Returns the logits [M, K, N] less each example's target logit, there an exact 0.

    Linear in the parameters, hence good for a direction as well.
    """
    logits = jnp.einsum(
        "mkd,nd->mkn",
        parameters.kernel,
        problem.features,
        precision=jax.lax.Precision.HIGHEST,
    )
    logits = logits + parameters.bias[:, :, None]
    chosen = jnp.where(is_target(problem), logits, 0).sum(axis=1, keepdims=True)
    return logits - chosen


def loss_along(
    problem: Problem, margins: jax.Array, changes: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the mean cross-entropy [M] and its two derivatives along a direction.

    Args:
      problem: What the heads are fitted to.
      margins: [M, K, N], minus infinity in the target's row.
      changes: [M, K, N], the direction's margins; 0 in the target's row.
      step: [M], how far along.
    """
    moved = margins + step[:, None, None] * changes
    top = jnp.maximum(moved.max(axis=1), 0)  # [M, N]
    powers = jnp.exp(moved - top[:, None])
    # Three sums in one pass: apart, each would take the exponentials anew.
    others, first, second = jax.lax.reduce(
        (powers, powers * changes, powers * changes**2),
        (np.float32(0),) * 3,
        lambda sums, terms: tuple(map(operator.add, sums, terms)),
        dimensions=(1,),
    )
    total = jnp.exp(-top) + others
    first = first / total
    second = second / total - first**2
    loss = top + jnp.log1p(others + jnp.expm1(-top))
    weighted = partial(jnp.einsum, "mn,mn->m", problem.weights)
    smoothed = _spread_over(problem, moved), _spread_over(problem, changes)
    return weighted(loss - smoothed[0]), weighted(first - smoothed[1]), weighted(second)


def _even(problem: Problem) -> jax.Array:
    """Returns [M, K]: 1 over the classes that are present, 0 for one that is not."""
    return problem.present / problem.present.sum(axis=1, keepdims=True)


def _spread_over(problem: Problem, margins: jax.Array) -> jax.Array:
    """Returns [M, N] of [M, K, N]: the smoothed share of the mean margin."""
    if problem.smoothing is None:
        return jnp.float32(0)
    others = jnp.where(is_target(problem), 0, margins) * _even(problem)[:, :, None]
    return problem.smoothing * others.sum(axis=1)


def slopes_at(problem: Problem, margins: jax.Array) -> Slopes:
    """Returns the derivatives of the mean cross-entropy by the parameters."""
    top = jnp.maximum(margins.max(axis=1, keepdims=True), 0)
    powers = jnp.exp(margins - top)
    others = powers.sum(axis=1, keepdims=True)
    rest = jnp.exp(-top)
    total = rest + others
    share = problem.weights[:, None, :] / total
    # 1 - p of the target, summed from the others: no cancellation near p = 1.
    mine = is_target(problem)
    residuals = jnp.where(mine, -others * share, powers * share)
    residuals = jnp.where(problem.present[:, :, None], residuals, 0)
    unlikely = jnp.where(mine, rest, total - powers) / total
    spread = (jnp.abs(residuals) * unlikely).sum(axis=2)
    if problem.smoothing is not None:
        part = problem.smoothing * _even(problem)[:, :, None]
        taken = part - jnp.where(mine, problem.smoothing, 0)
        residuals = residuals - taken * problem.weights[:, None, :]
    kernel = jnp.einsum(
        "mkn,nd->mkd", residuals, problem.features, precision=jax.lax.Precision.HIGHEST
    )
    return Slopes(Parameters(kernel, residuals.sum(axis=2)), spread)


def inner(a: Parameters, b: Parameters) -> jax.Array:
    """Returns the inner product [M] of each head's parameters."""
    return total_of(a.kernel * b.kernel) + total_of(a.bias * b.bias)


def total_of(array: jax.Array) -> jax.Array:
    """Returns the sum [M] over all axes but the first."""
    return array.sum(axis=tuple(range(1, array.ndim)))
