"""What each example adds to the one figure by which heads are held against each other.

Where each example has one class it is 1 or 0, and the mean is the accuracy; of labels
it is the share that are right; of numbers `1 - (y - t)**2 / variance`, and the mean is
R². Being a mean over examples, it can be resampled and paired.
"""

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.tasks import Task, decide

# What the mean is called, and a difference of means, in hundredths.
MEASURES = {
    "multiclass": "accuracy",
    "binary": "accuracy",
    "multilabel": "accuracy of labels",
    "regression": "R²",
}
POINTS = {
    "multiclass": "points",
    "binary": "points",
    "multilabel": "points of label accuracy",
    "regression": "points of R²",
}


def find_merits(
    task: Task,
    targets: ArrayLike,
    outputs: ArrayLike,
    *,
    thresholds: ArrayLike = (),
) -> np.ndarray:
    """Returns what each example adds: [..., N] float64.

    Args:
      task: What was asked.
      targets: N targets, as the task encodes them.
      outputs: [..., N, K] floating, what heads give.
      thresholds: What makes a probability a yes; see `decide`.

    Example:
      >>> task = Task("binary", ("no", "yes"))
      >>> find_merits(task, [0, 1], [[0.9, 0.1], [0.8, 0.2]]).tolist()
      [1.0, 0.0]
    """
    truth, given = np.asarray(targets), np.asarray(outputs, np.float64)
    guess = decide(task, given, thresholds)
    if task.is_single_class:
        return (guess == truth).astype(np.float64)
    known = np.isfinite(truth)
    if task.kind == "multilabel":
        right = guess == (truth >= 0.5)
    else:
        exact = np.where(known, truth.astype(np.float64), np.nan)
        n = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, exact, 0).sum(axis=0) / n
        variance = np.where(known, (exact - mean) ** 2, 0).sum(axis=0) / n
        # Of constant targets only an exact one is worth something.
        errors = (given - exact) ** 2
        right = 1 - errors / np.where(variance > 0, variance, 1)
    counts = np.maximum(known.sum(axis=-1), 1)
    return np.where(known, right, 0).sum(axis=-1) / counts


def find_losses(task: Task, targets: ArrayLike, outputs: ArrayLike) -> np.ndarray:
    """Returns each example's loss, by whose mean heads are chosen: [..., N] float64.

    The negative logarithm of the probability of what is true, averaged over labels; the
    squared error, over targets.
    """
    truth, given = np.asarray(targets), np.asarray(outputs, np.float64)
    tiny = np.finfo(np.float64).eps
    if task.is_single_class:
        chosen = np.take_along_axis(
            given, np.broadcast_to(truth, given.shape[:-1])[..., None], axis=-1
        )[..., 0]
        return -np.log(np.clip(chosen, tiny, 1))
    known = np.isfinite(truth)
    if task.kind == "multilabel":
        losses = -np.log(np.clip(np.where(truth >= 0.5, given, 1 - given), tiny, 1))
    else:
        losses = (given - np.where(known, truth, 0)) ** 2
    counts = np.maximum(known.sum(axis=-1), 1)
    return np.where(known, losses, 0).sum(axis=-1) / counts
