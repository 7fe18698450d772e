"""Linear heads: many multinomial logistic regressions fitted in one compiled program.

The objective of each is the (weighted) mean cross-entropy plus `l2 / 2` times the
squared norm of its kernel; the bias is not penalized. With two classes the norm is that
of the difference of the two kernels: in both cases it is scikit-learn's
`LogisticRegression` with `C = 1 / (l2 * N)`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import (
    ConfigError,
    DatasetError,
    FeatureShapeError,
    TrainingError,
)
from tl_pipeline.heads.axes import principal_axes
from tl_pipeline.heads.objective import Problem
from tl_pipeline.heads.paths import Chunk, make_chunks
from tl_pipeline.heads.solver import ABSENT_BIAS, Solution, advance, begin

# A million squares of it still add up to less than float32 can hold.
LARGEST = 1e15


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
    features = _checked_features(features)
    targets = _checked_targets(targets, features, n_classes)
    strengths = np.asarray(l2, np.float32)
    if strengths.ndim != 1 or not len(strengths) or not (strengths > 0).all():
        raise ConfigError(
            f"Asked for L2 strengths {list(l2)}: each must be above 0, and there must "
            "be one at least. Leave out the others, or use 1e-6 for hardly any."
        )
    weights, rows = _checked_weights(sample_weight, len(strengths), len(targets))
    shares = _class_shares(weights, targets, n_classes)
    used = (weights > 0).any(axis=0)
    if not used.all():
        features, targets, weights = features[used], targets[used], weights[:, used]

    axes = principal_axes(features)
    on_device = jax.device_put((axes.features, targets, axes.squares))
    kernel = np.empty((len(strengths), n_classes, len(axes.squares)), np.float32)
    bias = np.empty((len(strengths), n_classes), np.float32)
    loss = np.empty(len(strengths), np.float32)
    n_iter = np.empty(len(strengths), np.int32)
    converged = np.empty(len(strengths), bool)
    for chunk in make_chunks(
        strengths, rows, n_classes=n_classes, shape=axes.features.shape
    ):
        # |w1 - w0|**2 is 2 * (|w0|**2 + |w1|**2) where the two add up to 0.
        penalty = strengths[chunk.heads] * (2 if n_classes == 2 else 1)
        found = _follow(on_device, weights, shares, chunk, penalty, max_iter, tol)
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
            f"{np.abs(features).max():.3g}. Standardize them."
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


def _checked_features(features: ArrayLike) -> np.ndarray:
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or not features.size:
        raise FeatureShapeError(
            f"Expected features of shape [N, D] with N > 0 and D > 0, got "
            f"{list(features.shape)}. Pool or flatten them to one row an example."
        )
    if not np.isfinite(features).all():
        rows = int((~np.isfinite(features).all(axis=1)).sum())
        raise TrainingError(
            f"Asked to fit heads to {len(features)} rows, of which {rows} hold "
            "features that are not finite. Leave those examples out."
        )
    largest = float(np.abs(features).max())
    if largest > LARGEST:
        raise TrainingError(
            "Asked to fit heads to features whose squares float32 cannot hold: the "
            f"largest feature is {largest:.3g}. Standardize them."
        )
    return features


def _checked_targets(
    targets: ArrayLike, features: np.ndarray, n_classes: int
) -> np.ndarray:
    targets = np.asarray(targets)
    if targets.shape != (len(features),):
        raise FeatureShapeError(
            f"{len(features)} rows of features need as many targets, got the shape "
            f"{list(targets.shape)}. Pass one class index a row."
        )
    if targets.dtype.kind not in "iu":
        raise DatasetError(
            f"Targets are class indices, got {targets.dtype.name}. "
            "Number the classes from 0."
        )
    if targets.min() < 0 or targets.max() >= n_classes:
        raise DatasetError(
            f"Asked for heads of {n_classes} classes, found targets from "
            f"{targets.min()} to {targets.max()}. Number the classes from 0."
        )
    return targets.astype(np.int32)


def _checked_weights(
    weight: ArrayLike | None, m: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different rows of weights, each adding up to 1, and whose they are.

    Returns:
      [W, N] float32 and [M], the row of each head.
    """
    weights = np.ones((1, n)) if weight is None else np.asarray(weight, np.float64)
    if weights.shape == (n,):
        weights = weights[None]
    elif weight is not None and weights.shape != (m, n):
        raise ConfigError(
            f"{m} heads on {n} examples take sample weights of shape [{n}] or "
            f"[{m}, {n}], got {list(weights.shape)}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ConfigError(
            "Sample weights must be finite and at least 0, found "
            f"{weights.min()} to {weights.max()}. Use 0 to leave an example out."
        )
    places: dict[bytes, int] = {}
    rows = [places.setdefault(row.tobytes(), len(places)) for row in weights]
    _, firsts = np.unique(rows, return_index=True)
    different = weights[firsts]
    total = different.sum(axis=1, keepdims=True)
    # A head without any example is reported as one without classes, not as NaN.
    different = (different / np.where(total > 0, total, 1)).astype(np.float32)
    return different, np.broadcast_to(rows, m)


def _class_shares(
    weights: np.ndarray, targets: np.ndarray, n_classes: int
) -> np.ndarray:
    """Returns the share [W, K] of each class in the weight."""
    shares = np.stack([np.bincount(targets, row, n_classes) for row in weights])
    few = (shares > 0).sum(axis=1) < 2
    if few.any():
        raise DatasetError(
            f"Asked to tell {n_classes} classes apart, found training examples of "
            f"{int((shares[few][0] > 0).sum())}. Add labeled examples of at least two "
            "classes."
        )
    return shares


def _follow(
    on_device: tuple[jax.Array, ...],
    weights: np.ndarray,
    shares: np.ndarray,
    chunk: Chunk,
    penalty: np.ndarray,
    max_iter: int,
    tol: float,
) -> list[Solution]:
    """Returns what a chunk's paths find at each step; NumPy arrays."""
    features, targets, squares = on_device
    shares = shares[chunk.rows]
    present = shares > 0
    # Without a kernel the optimum is the logarithm of the class frequencies.
    bias = np.log(np.where(present, shares, 1))
    bias -= bias.sum(axis=1, keepdims=True) / present.sum(axis=1, keepdims=True)
    problem = Problem(
        features=features,
        targets=targets,
        weights=jnp.asarray(weights[chunk.rows]),
        present=jnp.asarray(present),
        squares=squares,
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
