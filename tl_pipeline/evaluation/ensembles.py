"""Which heads to average: greedy selection with replacement.

Reference:
  Caruana et al., 2004, "Ensemble Selection from Libraries of Models":
  https://doi.org/10.1145/1015330.1015432
"""

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.evaluation.merits import find_losses
from tl_pipeline.tasks import Task


def select_members(
    task: Task, targets: ArrayLike, outputs: np.ndarray, *, most: int
) -> np.ndarray:
    """Chooses what each head counts in an average of least loss: [M] int64.

    The best head comes first; then, again and again, the one that with those before
    has the least mean loss, which may be one of them; the best moment is kept.

    Args:
      task: What was asked.
      targets: N targets, as the task encodes them, that no head was fitted to.
      outputs: [M, N, K] floating, what the heads say.
      most: Heads taken at most, one taken twice counting twice.

    Example:
      >>> task = Task("binary", ("no", "yes"))
      >>> said = [[[0.9, 0.1], [0.6, 0.4]], [[0.4, 0.6], [0.1, 0.9]]]
      >>> select_members(task, [0, 1], np.array(said), most=5).tolist()
      [1, 1]
    """
    outputs = np.asarray(outputs, np.float64)
    usable = [bool(np.isfinite(one).all()) for one in outputs]
    counts = np.zeros(len(outputs), np.int64)
    best, best_loss = counts, np.inf
    total = np.zeros(outputs.shape[1:])
    for taken in range(1, most + 1):
        losses = [
            find_losses(task, targets, (total + one) / taken).mean() if able else np.inf
            for one, able in zip(outputs, usable, strict=True)
        ]
        chosen = int(np.argmin(losses))
        counts = counts + (np.arange(len(counts)) == chosen)
        total = total + outputs[chosen]
        # Of rounding nothing is gained.
        if losses[chosen] < best_loss * (1 - 1e-9):
            best, best_loss = counts, losses[chosen]
    return best
