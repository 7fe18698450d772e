"""What the best of many would score elsewhere, without training any of them again."""

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.uncertainty import Interval

# Resampled counts that are held at once: 64 MiB of float64.
_COUNTS_AT_ONCE = 2**23


def corrected_score(
    losses: ArrayLike,
    merits: ArrayLike,
    *,
    rng: np.random.Generator,
    n_resamples: int = 500,
    level: float = 0.95,
) -> Interval:
    """Estimates the score of a choice on examples that had no part in it.

    The best of C candidates looks better than it is on the examples it was chosen on.
    Here the choice is repeated on each bootstrap sample of them, and what was chosen is
    scored on the examples left out: no head is fitted again, as nested
    cross-validation would.

    Args:
      losses: [C, N], by whose mean one is chosen; out of sample, for each candidate.
      merits: [C, N], by whose mean it is scored.
      rng: Decides the resamples.
      n_resamples: How many.
      level: Of the interval.

    Raises:
      DatasetError: There are no candidates or fewer than two examples.

    Reference:
      Tsamardinos, Greasidou and Borboudakis, Bootstrapping the out-of-sample
      predictions for efficient and accurate cross-validation, Machine Learning 107,
      2018, https://arxiv.org/abs/1708.07180 (BBC-CV).
    """
    losses, merits = np.asarray(losses, np.float64), np.asarray(merits, np.float64)
    if losses.shape != merits.shape or losses.ndim != 2 or losses.shape[1] < 2:
        raise DatasetError(
            f"Asked to correct a choice by losses {list(losses.shape)} and scores "
            f"{list(merits.shape)}: they are a row a candidate, over the same two "
            "examples or more."
        )
    n = losses.shape[1]
    drawn = []
    at_once = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, n_resamples, at_once):
        rows = min(at_once, n_resamples - start)
        picked = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        counts = np.bincount(picked.ravel(), minlength=rows * n).reshape(rows, n)
        best = (counts @ losses.T).argmin(axis=1)
        out = counts == 0
        some = out.any(axis=1)  # a tiny sample may leave none out
        scores = (out * merits[best]).sum(axis=1)[some] / out.sum(axis=1)[some]
        drawn.append(scores)
    found = np.concatenate(drawn)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(found.mean()), float(low), float(high))
