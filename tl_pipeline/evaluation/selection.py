"""Choosing one head among many by their scores on the validation split."""

from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.errors import TrainingError
from tl_pipeline.tasks import Task, TaskKind

# Losses this close, relatively, are equal: the heads come from a float32 search.
SAME_LOSS = 1e-3
PRIMARY_LOSS: Mapping[TaskKind, str] = {
    "multiclass": "log_loss",
    "binary": "log_loss",
    "multilabel": "log_loss",  # label by label, averaged
    "regression": "root_mean_squared_error",
}


def choose(
    scores: Sequence[Mapping[str, float]],
    *,
    strength: Sequence[float],
    task: Task | None = None,
) -> int:
    """Chooses the head of lowest loss; of equals, the most strongly regularized.

    Not by accuracy: on a validation split of a hundred examples one example is a whole
    point, half a grid of strengths ties, and the best of them is chance. The log loss
    uses every probability, is proper, and has one minimum along the grid, so that the
    choice is stable from night to night and the probabilities can be believed. Heads
    that predict numbers are chosen by the root mean squared error.

    Args:
      scores: The metrics of each candidate on the validation split, from `score`.
      strength: The L2 strength of each.
      task: What was asked; classes without it.

    Returns:
      The index of the chosen candidate.

    Raises:
      TrainingError: There are no candidates, or none has a finite loss.

    Example:
      >>> choose([{"log_loss": 0.4}, {"log_loss": 0.4}], strength=[0.1, 1.0])
      1
    """
    loss = PRIMARY_LOSS[task.kind if task else "multiclass"]
    losses = np.array([entry[loss] for entry in scores], np.float64)
    if not np.isfinite(losses).any():
        raise TrainingError(
            f"Asked to choose among {len(losses)} heads, found none with a finite "
            f"{loss.replace('_', ' ')} on the validation split. Look at the features "
            "they were trained on."
        )
    best = np.nanmin(losses)
    equal = losses <= best * (1 + SAME_LOSS)
    return int(np.argmax(np.where(equal, np.asarray(strength, np.float64), -np.inf)))
