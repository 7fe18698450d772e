"""How much of one task the answers to another one tell."""

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.evaluation.merits import find_losses
from tl_pipeline.tasks import Task


def explained_share(
    task: Task, targets: ArrayLike, outputs: ArrayLike, prior: ArrayLike
) -> float:
    """Returns the share of a prior's loss that a head saves on the same examples.

    1 is a head that is always right and sure, 0 one that is no better than the prior,
    below 0 a worse one. Of numbers it is R² against the prior's mean.

    Args:
      task: What was asked.
      targets: N targets, as the task encodes them.
      outputs: [N, K] floating, what the head says.
      prior: [K] floating, what is said without looking.

    Example:
      >>> task = Task("binary", ("no", "yes"))
      >>> said = [[0.5, 0.5], [0.5, 0.5]]
      >>> explained_share(task, [0, 1], said, [0.5, 0.5])
      0.0
    """
    given = np.asarray(outputs, np.float64)
    plain = np.broadcast_to(np.asarray(prior, np.float64), given.shape)
    before = find_losses(task, targets, plain).mean()
    if before <= 0:
        return 0.0
    return float(1 - find_losses(task, targets, given).mean() / before)
