"""Linear heads: many multinomial logistic regressions fitted in one compiled program.

The objective of each is the (weighted) mean cross-entropy plus `l2 / 2` times the
squared norm of its kernel; the bias is not penalized. With two classes the norm is that
of the difference of the two kernels: in both cases it is scikit-learn's
`LogisticRegression` with `C = 1 / (l2 * N)`.

Several devices share the rows, not the heads: strengths are one path, each of which
begins where the last one led, so that there may be one path alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.devices import Placement, all_devices
from tl_pipeline.errors import DatasetError, FeatureShapeError, TrainingError
from tl_pipeline.heads.axes import Axes, principal_axes
from tl_pipeline.heads.device_memory import telling_exhaustion
from tl_pipeline.heads.inputs import (
    checked_classes,
    checked_features,
    checked_smoothing,
    checked_strengths,
    checked_weights,
)
from tl_pipeline.heads.objective import Problem
from tl_pipeline.heads.paths import make_chunks
from tl_pipeline.heads.solver import ABSENT_BIAS, Solution, advance, begin


class LinearHeads(NamedTuple):
    """M fitted heads, in the order of the strengths asked for."""

    kernel: np.ndarray  # [M, D, K] float32
    bias: np.ndarray  # [M, K] float32
    loss: np.ndarray  # [M] float32, the objective: mean cross-entropy and penalty
    n_iter: np.ndarray  # [M] int32
    converged: np.ndarray  # [M] bool; False: `max_iter` was reached

    def take(self, heads: Sequence[int]) -> "LinearHeads":
        """Returns some of the heads, in the order of their indices given."""
        return LinearHeads(*(part[list(heads)] for part in self))


def fit_linear(
    features: ArrayLike,
    targets: ArrayLike,
    *,
    n_classes: int,
    l2: Sequence[float],
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    max_iter: int = 1000,
    tol: float = 1e-7,
) -> LinearHeads:
    """Fits M logistic regressions that share their features.

    The features should be standardized: one strength applies to all of them, and the
    search converges in tens of iterations rather than thousands.

    Args:
      features: [N, D] floating, computed with in float32.
      targets: [N] integer class indices below `n_classes`. A class without an example
        gets a probability near 0 and no kernel.
      n_classes: K, at least 2.
      l2: M strengths, each above 0; repeat one to fit it on several subsets.
      sample_weight: [N], or [M, N] with a row for each head, at least 0. A weight of 0
        leaves an example out, so folds and few-shot subsets cost no compilation.
      label_smoothing: Share of each target, from 0 to below 1, that is spread evenly
        over the classes of a head's examples (Szegedy et al., 2016).
      max_iter: Iterations after which a head is left unconverged.
      tol: Estimated share of the loss that more iterations would still win. The default
        comes within 1e-5 of the optimum, where no prediction changes any more.

    Returns:
      Kernels, biases, and how the search ended. On one machine the same input gives
      the same bytes; a head fitted beside others agrees with one fitted alone to the
      tolerance.

    Raises:
      FeatureShapeError: `features` is not [N, D], or its N is not that of `targets`.
      DatasetError: Fewer than two classes have an example, or a target is no class.
      ConfigError: A strength or weight that is not usable.
      TrainingError: The features, or the fit, are not finite.

    Example:
      >>> heads = fit_linear([[-1.0], [1.0]], [0, 1], n_classes=2, l2=[0.1, 1.0])
      >>> heads.kernel.shape, heads.converged.tolist()
      ((2, 1, 2), [True, True])
    """
    features = checked_features(features)
    targets = checked_classes(targets, len(features), n_classes)
    strengths = checked_strengths(l2).astype(np.float32)
    smoothing = checked_smoothing(label_smoothing)
    weights, rows = checked_weights(sample_weight, len(strengths), len(targets))
    weights = weights.astype(np.float32)
    shares = class_shares(weights, targets, n_classes)
    few = (shares > 0).sum(axis=1) < 2
    if few.any():
        raise DatasetError(
            f"Asked to tell {n_classes} classes apart, found training examples of "
            f"{int((shares[few][0] > 0).sum())}. Add labeled examples of at least two "
            "classes."
        )
    used = (weights > 0).any(axis=0)
    if not used.all():
        features, targets, weights = features[used], targets[used], weights[:, used]

    return fit_along(
        principal_axes(features),
        targets,
        strengths,
        weights=weights,
        rows=rows,
        shares=shares,
        smoothing=smoothing,
        max_iter=max_iter,
        tol=tol,
    )


def fit_along(
    axes: Axes,
    targets: np.ndarray,
    strengths: np.ndarray,
    *,
    weights: np.ndarray,
    rows: np.ndarray,
    shares: np.ndarray,
    smoothing: float | None,
    max_iter: int,
    tol: float,
) -> LinearHeads:
    """Fits M heads on features whose axes were found, from what `fit_linear` checked.

    Args:
      axes: Of [N, D] features.
      targets: [N] int32 class indices.
      strengths: [M] float32.
      weights: [W, N] float32, each row adding up to 1.
      rows: [M], the row of weights of each head.
      shares: [W, K], the share of each class in the weight; where one class has all of
        it, the kernel is 0.
      smoothing: Share of a target that is spread; None: none.
      max_iter: Of each head.
      tol: Of each head.

    Raises:
      TrainingError: The fit is not finite, or does not fit on the device.
    """
    n_classes = shares.shape[1]
    kernel = np.empty((len(strengths), n_classes, len(axes.squares)), np.float32)
    bias = np.empty((len(strengths), n_classes), np.float32)
    loss = np.empty(len(strengths), np.float32)
    n_iter = np.empty(len(strengths), np.int32)
    converged = np.empty(len(strengths), bool)
    placement = all_devices()
    with telling_exhaustion(f"{len(strengths)} linear heads on {len(targets):,} rows"):
        turned, targets, weights = _dealt_out(
            placement, axes.features, targets, weights
        )
        on_device = (
            *placement.split((turned, targets)),
            placement.copy(axes.squares),
        )
        for chunk in make_chunks(
            strengths, rows, n_classes=n_classes, shape=axes.features.shape
        ):
            # |w1 - w0|**2 is 2 * (|w0|**2 + |w1|**2) where the two add up to 0.
            penalty = strengths[chunk.heads] * (2 if n_classes == 2 else 1)
            found = _follow(
                on_device,
                placement.split(weights[chunk.rows], axis=1),
                shares[chunk.rows],
                smoothing,
                penalty,
                max_iter,
                tol,
            )
            for heads, solution in zip(chunk.heads[::-1], found[::-1], strict=True):
                # Backwards, so that what a head's repeats found is overwritten.
                kernel[heads] = solution.parameters.kernel
                bias[heads] = solution.parameters.bias
                loss[heads] = solution.objective
                n_iter[heads] = solution.n_iter
                converged[heads] = solution.converged
    kernel = axes.kernel_of(kernel)  # [M, K, D]
    bias = axes.bias_of(bias, kernel).astype(np.float32)
    kernel = np.ascontiguousarray(kernel.swapaxes(1, 2), np.float32)
    finite = np.isfinite(loss) & np.isfinite(kernel).all(axis=(1, 2))
    if not finite.all():
        raise TrainingError(
            "Fitting linear heads ended in non-finite numbers at L2 "
            f"{strengths[~finite].tolist()}: the largest feature is "
            f"{np.abs(axes.features).max():.3g}. Standardize them."
        )
    return LinearHeads(kernel, bias, loss, n_iter, converged)


def predict_logits(heads: LinearHeads, features: ArrayLike) -> np.ndarray:
    """Returns the [M, N, K] float32 logits of every head for [N, D] features.

    Raises:
      FeatureShapeError: `features` is not [N, D] with the D of the heads.
    """
    features = np.asarray(features, np.float32)
    n_heads, width, n_classes = heads.kernel.shape
    if features.ndim != 2 or features.shape[1] != width:
        raise FeatureShapeError(
            f"Heads of {width} features were given the shape {list(features.shape)}. "
            "Pass the features that they were fitted on."
        )
    logits = np.empty((n_heads, len(features), n_classes), np.float32)
    for head, (kernel, bias) in enumerate(zip(heads.kernel, heads.bias, strict=True)):
        np.matmul(features, kernel, out=logits[head])
        logits[head] += bias
    return logits


def class_shares(
    weights: np.ndarray, targets: np.ndarray, n_classes: int
) -> np.ndarray:
    """Returns the share [W, K] of each class in the weight."""
    return np.stack([np.bincount(targets, row, n_classes) for row in weights])


def _dealt_out(
    placement: Placement, *arrays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features, targets and weights, with rows that weigh nothing at the end.

    So many that each device gets as many rows.
    """
    features, targets, weights = arrays
    n = placement.fill_up(len(targets)) - len(targets)
    if not n:
        return features, targets, weights
    return (
        np.pad(features, [(0, n), (0, 0)]),
        np.pad(targets, (0, n)),
        np.pad(weights, [(0, 0), (0, n)]),
    )


def _follow(
    on_device: tuple[jax.Array, ...],
    weights: jax.Array,
    shares: np.ndarray,
    smoothing: float | None,
    penalty: np.ndarray,
    max_iter: int,
    tol: float,
) -> list[Solution]:
    """Returns what a chunk's paths find at each step; NumPy arrays."""
    features, targets, squares = on_device
    present = shares > 0
    # Without a kernel the optimum is the logarithm of the class frequencies, smoothed.
    if smoothing is not None:
        shares = (1 - smoothing) * shares
        shares += smoothing / present.sum(axis=1, keepdims=True)
    bias = np.log(np.where(present, shares, 1))
    bias -= bias.sum(axis=1, keepdims=True) / present.sum(axis=1, keepdims=True)
    problem = Problem(
        features=features,
        targets=targets,
        weights=weights,
        present=jnp.asarray(present),
        squares=squares,
        smoothing=None if smoothing is None else jnp.float32(smoothing),
    )
    place = begin(
        problem, jnp.asarray(np.where(present, bias, ABSENT_BIAS), jnp.float32)
    )
    found = []
    for strengths in penalty.astype(np.float32):
        place, solution = advance(
            problem, place, jnp.asarray(strengths), max_iter=max_iter, tol=tol
        )
        found.append(jax.tree.map(np.asarray, solution))
    return found
