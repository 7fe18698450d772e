"""Whether probabilities can be believed: how often the sure are right."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.evaluation.scored import Scored, check_scored
from tl_pipeline.tasks import Task

N_BINS = 15  # Guo et al., table 1


class Bin(NamedTuple):
    """Predictions of a like confidence.

    Attributes:
      low: Confidences are above this,
      high: and at most this.
      n: Predictions; of several labels every known one counts.
      confidence: Their mean confidence; None where there are none.
      accuracy: The share of them that is right; likewise.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


def reliability_bins(task: Task, targets: ArrayLike, outputs: ArrayLike) -> list[Bin]:
    """Bins predictions by their confidence, and tells how often each bin is right.

    The confidence is that of the likeliest class; of a label, of the likelier of its
    yes and no. 15 bins of equal width.

    Args:
      task: Not `regression`.
      targets: As `Task` encodes them.
      outputs: The probabilities.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.

    Reference:
      C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural
      Networks", ICML 2017, section 2.
    """
    confidence, right, _ = flatten_confidence(check_scored(targets, outputs, task=task))
    of_bin = find_bin(confidence)
    counts = np.bincount(of_bin, minlength=N_BINS)
    sums = np.bincount(of_bin, weights=confidence, minlength=N_BINS)
    hits = np.bincount(of_bin, weights=right, minlength=N_BINS)
    return [
        Bin(
            low=i / N_BINS,
            high=(i + 1) / N_BINS,
            n=int(n),
            confidence=float(sums[i] / n) if n else None,
            accuracy=float(hits[i] / n) if n else None,
        )
        for i, n in enumerate(counts)
    ]


def calibration_error(scored: Scored) -> float:
    """Returns the expected calibration error: the mean distance from the diagonal.

    Over the bins of `reliability_bins`, weighted by their predictions: Guo et al.,
    equation 3.
    """
    confidence, right, _ = flatten_confidence(scored)
    gaps = np.bincount(find_bin(confidence), weights=right - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def flatten_confidence(scored: Scored) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the confidence of each prediction, whether it is right, and its row.

    A threshold moves decisions, not confidences: what is judged is the likelier side.

    Returns:
      Three arrays [M]: float64, float64 of 0 and 1, and row indices; M is N for
      classes, and the known targets for labels.
    """
    if scored.task.is_single_class:
        rows = np.arange(len(scored.targets))
        likeliest = scored.outputs.argmax(axis=1)
        right = likeliest == scored.targets
        return scored.outputs[rows, likeliest], right.astype(np.float64), rows
    rows, columns = np.nonzero(~np.isnan(scored.targets))
    shares = scored.outputs[rows, columns]
    right = (shares > 0.5) == scored.targets[rows, columns]
    return np.maximum(shares, 1 - shares), right.astype(np.float64), rows


def find_bin(confidence: np.ndarray) -> np.ndarray:
    """Returns the bin of each confidence, which holds its upper end: [M] int64."""
    edges = np.linspace(0, 1, N_BINS + 1)
    return np.searchsorted(edges[1:-1], confidence)
