"""How far a chosen head's figure moves from seed to seed."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tl_pipeline.evaluation.merits import MEASURES, find_merits
from tl_pipeline.heads.head import Head
from tl_pipeline.stages.entering import Entrant


def spread_over_seeds(
    entrants: Sequence[Entrant], chosen: int
) -> dict[str, Any] | None:
    """Scores the chosen head's setting at every seed that was trained.

    The seed that was chosen is the luckiest where heads are chosen; the mean over all
    is what the setting gives. Nothing is chosen by what is found here.

    Args:
      entrants: All of them.
      chosen: Which of them was chosen.

    Returns:
      `n` seeds, the `measure`, and for `val` (where heads were chosen) and `test` the
      `mean` and the `spread`, the standard deviation over seeds; None where the
      setting has no seed or one only.
    """
    best = entrants[chosen]
    wanted = _setting(best.candidate.head)
    if best.members or "seed" not in best.candidate.head.settings:
        return None
    same = [
        one
        for one in entrants
        if one.data is best.data
        and _setting(one.candidate.head) == wanted
        and one.candidate.converged
    ]
    if len(same) < 2:
        return None
    data, where = best.data, best.choosing.rows
    test = data.split("test")
    scores = {
        "val": [(data.targets[where], one.candidate.outputs) for one in same],
        "test": [
            (test.targets, one.candidate.head.predict(test.features)) for one in same
        ],
    }
    found: dict[str, Any] = {"n": len(same), "measure": MEASURES[data.task.kind]}
    for split, pairs in scores.items():
        means = [find_merits(data.task, *pair).mean() for pair in pairs]
        found[split] = {"mean": float(np.mean(means)), "spread": float(np.std(means))}
    return found


def _setting(head: Head) -> tuple[Any, ...]:
    """Returns what heads of one setting have in common."""
    others = {key: value for key, value in head.settings.items() if key != "seed"}
    kept = head.preparation.kept
    columns = b"" if kept is None else kept.columns.tobytes()
    return head.kind, head.feature, others, columns
