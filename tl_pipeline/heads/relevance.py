"""How much each column of many layers of features matters for a task, by Head2Toe.

A column's score is the Euclidean norm of its row in the kernel of one linear head on
the columns of all layers together: its part in the group lasso's penalty. The head here
is ridge, of all columns standardized, solved by the Gram matrix of the rows, so that
one layer at a time is looked at, and no more than twice.

Reference:
  Evci et al., 2022, "Head2Toe: Utilizing Intermediate Representations for Better
  Transfer Learning": https://arxiv.org/abs/2201.03529
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import TrainingError
from tl_pipeline.heads.inputs import checked_columns
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.tasks import Task

# Rows that a score is taken from at most: their Gram matrix is decomposed. The paper
# scores 1,000.
MOST_ROWS = 2048
# Of the variance of all columns together, from which leave-one-out takes the best.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_COLUMNS_AT_ONCE = 4096
LEAST_VARIANCE = 1e-13  # of the largest: the rest is rounding


def score_columns(
    layers: Callable[[], Iterable[np.ndarray]],
    targets: ArrayLike,
    task: Task,
    *,
    weight: ArrayLike,
) -> np.ndarray:
    """Scores the columns of some layers for a task, by P subsets of the rows.

    Args:
      layers: Yields each layer's [N, D] floating rows, the same ones each time; it is
        called twice. Of N rows above `MOST_ROWS` draw before.
      targets: As the task encodes them; missing ones say nothing.
      task: What is asked for.
      weight: [P, N] at least 0, a row a subset; 0 leaves an example out.

    Returns:
      [P, D] float64, D the columns of all layers. A constant column's score is 0.

    Raises:
      TrainingError: The features are not finite.
    """
    columns = _as_columns(targets, task)
    weights = np.asarray(weight, np.float64)
    gram = np.zeros((len(columns), len(columns)))
    for rows in _standardized(layers()):
        gram += rows @ rows.T
    if not np.isfinite(gram).all():
        raise TrainingError(
            f"Asked to score the columns of {len(columns)} rows, of which some hold "
            "features that are not finite. Leave those examples out."
        )
    duals = [_solve(gram, columns, subset) for subset in weights]  # [N, K] each
    together = np.concatenate(duals, axis=1).astype(np.float32)
    bounds = np.cumsum([0] + [dual.shape[1] for dual in duals])
    scores = []
    for rows in _standardized(layers()):
        kernel = (rows.T @ together).astype(np.float64)
        scores.append(
            [
                np.linalg.norm(kernel[:, start:stop], axis=1)
                for start, stop in zip(bounds[:-1], bounds[1:], strict=True)
            ]
        )
    return np.concatenate([np.array(part) for part in scores], axis=1)


def keep_columns(scores: np.ndarray, share: float) -> np.ndarray:
    """Returns the columns of the highest scores, in ascending order: [R] int32.

    Of equal scores the first is kept; one column at least.

    Args:
      scores: [D] floating.
      share: How many of them, above 0 and at most 1.

    Example:
      >>> keep_columns(np.array([0.1, 0.7, 0.2, 0.3]), 0.5).tolist()
      [1, 3]
    """
    n_kept = max(1, min(len(scores), round(share * len(scores))))
    order = np.argsort(-scores, kind="stable")
    return np.sort(order[:n_kept]).astype(np.int32)


def _as_columns(targets: ArrayLike, task: Task) -> np.ndarray:
    """Returns [N, K] float64, each column of mean 0 where it is known, and else 0."""
    if task.is_single_class:
        classes = np.asarray(targets)
        columns = np.zeros((len(classes), task.n_outputs))
        columns[np.arange(len(classes)), classes] = 1
        return columns
    columns = checked_columns(targets, len(np.asarray(targets)))
    known = np.isfinite(columns)
    counts = np.maximum(known.sum(axis=0), 1)
    columns = np.where(known, columns, 0)
    centered = np.where(known, columns - columns.sum(axis=0) / counts, 0)
    # Numbers of any unit count the same.
    scale = np.sqrt((centered**2).sum(axis=0) / counts)
    return centered / np.where(scale > 0, scale, 1)


def _standardized(layers: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    """Yields [N, C] float32 of each layer in turn, some columns at a time."""
    for layer in layers:
        for start in range(0, layer.shape[1], _COLUMNS_AT_ONCE):
            part = layer[:, start : start + _COLUMNS_AT_ONCE]
            yield apply_standardizer(fit_standardizer(part), part)


def _solve(gram: np.ndarray, columns: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns what of each row is in the kernel of one subset's head: [N, K]."""
    used = np.flatnonzero(weight > 0)
    shares = weight[used] / weight[used].sum()
    roots = np.sqrt(shares)
    inner = gram[np.ix_(used, used)]
    # Around the subset's own weighted mean, as with a bias that is not penalized.
    toward = inner @ shares
    inner = inner - toward[:, None] - toward + shares @ toward
    inner *= roots[:, None] * roots
    truth = (columns[used] - shares @ columns[used]) * roots[:, None]
    variances, vectors = np.linalg.eigh(inner)
    kept = variances > max(LEAST_VARIANCE * variances[-1], 0)
    dual = np.zeros((len(weight), columns.shape[1]))
    if not kept.any():  # constant features tell nothing
        return dual
    variances, vectors = variances[kept], vectors[:, kept]
    along = vectors.T @ truth
    strengths = variances.sum() * np.array(_STRENGTHS)
    losses = [
        _leave_one_out(vectors, variances, along, truth, shares, strength)
        for strength in strengths
    ]
    strength = strengths[int(np.argmin(losses))]
    # These add up to 0, so the rows need not be brought around the mean.
    dual[used] = vectors @ (along / (variances + strength)[:, None]) * roots[:, None]
    return dual


def _leave_one_out(
    vectors: np.ndarray,
    variances: np.ndarray,
    along: np.ndarray,
    truth: np.ndarray,
    shares: np.ndarray,
    strength: float,
) -> float:
    shrunk = variances / (variances + strength)
    residuals = truth - vectors @ (shrunk[:, None] * along)
    leverage = shares + (vectors**2) @ shrunk
    return float(((residuals / np.maximum(1 - leverage, 1e-9)[:, None]) ** 2).sum())


def draw_rows(content: np.ndarray, most: int = MOST_ROWS) -> np.ndarray:
    """Returns at most so many rows, in order, those of the smallest digests.

    A row that comes or goes changes no more than one of the others.

    Args:
      content: [N, 32] uint8 content digests.
      most: How many.
    """
    keys = np.ascontiguousarray(content).view("V32").reshape(-1)
    return np.sort(np.argsort(keys, kind="stable")[:most])


def union_of(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the columns that are in any of some lists, ascending."""
    return np.unique(np.concatenate(columns)).astype(np.int32)
