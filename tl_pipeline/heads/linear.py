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
from tl_pipeline.heads.solver import ABSENT_BIAS, MEMORY, Problem, solve

# What the solver may hold at once beside the features. Heads beyond it wait: those of
# like strength go together, so that few wait for a slow neighbor.
WORKING_BYTES = 2**30

# Rows up to which their eigenvectors take less time than they save: half a second.
REDUCED_ROWS = 1024

# Arrays of [M, K, N] that are alive at once, counted with XLA's own buffers, and of
# [M, K, D]: the pairs of the memory, parameters, gradient and direction.
_LOGIT_ARRAYS = 5
_KERNEL_ARRAYS = 2 * MEMORY + 8


class LinearHeads(NamedTuple):
    """M fitted heads, in the order of the strengths asked for."""

    kernel: np.ndarray  # [M, D, K] float32
    bias: np.ndarray  # [M, K] float32
    loss: np.ndarray  # [M] float32, the objective: mean cross-entropy and penalty
    n_iter: np.ndarray  # [M] int32
    converged: np.ndarray  # [M] bool; False: `max_iter` was reached


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
    weights = _checked_weights(sample_weight, len(strengths), len(targets))
    present = _present_classes(weights, targets, n_classes)

    reduced, basis = _reduce(features)
    on_device = jax.device_put((reduced, targets))
    order = np.argsort(-strengths, kind="stable")
    found = [
        _solve_chunk(on_device, strengths, weights, present, chunk, max_iter, tol)
        for chunk in _chunks(order, n_classes, reduced.shape)
    ]
    back = np.argsort(order, kind="stable")
    kernel, bias, loss, n_iter, converged = (
        np.concatenate(parts)[: len(order)][back] for parts in zip(*found, strict=True)
    )
    if not np.isfinite(loss).all() or not np.isfinite(kernel).all():
        bad = strengths[~np.isfinite(loss)]
        raise TrainingError(
            f"Fitting linear heads ended in non-finite numbers at L2 {bad.tolist()}: "
            f"the largest feature is {np.abs(features).max():.3g}. Standardize them."
        )
    kernel = kernel if basis is None else kernel @ basis.T  # [M, K, D]
    return LinearHeads(
        np.ascontiguousarray(kernel.swapaxes(1, 2)), bias, loss, n_iter, converged
    )


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


def _checked_weights(weight: ArrayLike | None, m: int, n: int) -> np.ndarray:
    """Returns weights [M, N], or [1, N] where all heads share them, adding up to 1."""
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
    total = weights.sum(axis=1, keepdims=True)
    # A head without any example is reported as one without classes, not as NaN.
    return (weights / np.where(total > 0, total, 1)).astype(np.float32)


def _present_classes(
    weights: np.ndarray, targets: np.ndarray, n_classes: int
) -> np.ndarray:
    """Returns which classes [M, K] have examples, as their share of the weight."""
    shares = np.stack([np.bincount(targets, row, n_classes) for row in weights])
    few = (shares > 0).sum(axis=1) < 2
    if few.any():
        raise DatasetError(
            f"Asked to tell {n_classes} classes apart, found training examples of "
            f"{int((shares[few][0] > 0).sum())}. Add labeled examples of at least two "
            "classes."
        )
    return shares


def _reduce(features: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Writes few rows of many features in a basis [D, R] of the space of those rows.

    The optimum lies in that space and distances stay, so nothing changes but the cost:
    for 245 rows of 1,280 features, a fifth. By eigenvectors, not by QR, which under
    OpenBLAS took seconds for the same rows when other processes held the cores.
    """
    n, width = features.shape
    if n > REDUCED_ROWS or width < 2 * n:
        return features, None
    exact = features.astype(np.float64)
    squares, rows = np.linalg.eigh(exact @ exact.T)
    # Below 1e-5 of the longest axis lies the rounding of float32 features.
    kept = squares > 1e-10 * squares[-1]
    if not kept.any():
        return features, None
    lengths = np.sqrt(squares[kept])
    basis = exact.T @ (rows[:, kept] / lengths)
    return (rows[:, kept] * lengths).astype(np.float32), basis.astype(np.float32)


def _chunks(
    order: np.ndarray, n_classes: int, shape: tuple[int, ...]
) -> list[np.ndarray]:
    """Cuts the heads into chunks of one size, so that all run one compiled program."""
    n, width = shape
    head_bytes = 4 * n_classes * (_LOGIT_ARRAYS * n + _KERNEL_ARRAYS * width)
    fitting = max(1, WORKING_BYTES // head_bytes)
    size = -(-len(order) // -(-len(order) // fitting))
    missing = -len(order) % size
    padded = np.concatenate([order, np.repeat(order[-1:], missing)])
    return np.split(padded, len(padded) // size)


def _solve_chunk(
    on_device: tuple[jax.Array, jax.Array],
    strengths: np.ndarray,
    weights: np.ndarray,
    shares: np.ndarray,
    chunk: np.ndarray,
    max_iter: int,
    tol: float,
) -> tuple[np.ndarray, ...]:
    features, targets = on_device
    rows = chunk if len(weights) > 1 else np.zeros_like(chunk)
    present = shares[rows] > 0
    n_classes = present.shape[1]
    # Without a kernel the optimum is the logarithm of the class frequencies.
    bias = np.log(np.where(present, shares[rows], 1))
    bias -= bias.sum(axis=1, keepdims=True) / present.sum(axis=1, keepdims=True)
    problem = Problem(
        features=features,
        targets=targets,
        weights=jnp.asarray(weights[rows]),
        # |w1 - w0|**2 is 2 * (|w0|**2 + |w1|**2) where the two add up to 0.
        penalty=jnp.asarray(strengths[chunk] * (2 if n_classes == 2 else 1)),
        present=jnp.asarray(present),
        bias=jnp.asarray(np.where(present, bias, ABSENT_BIAS), jnp.float32),
    )
    solution = solve(problem, max_iter=max_iter, tol=tol)
    return tuple(np.asarray(part) for part in solution)
