"""What an ensemble is made of, and the average of what its members say."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.heads.links import apply_link, invert_link
from tl_pipeline.heads.outputs import KINDS, Arrays, Settings
from tl_pipeline.heads.preparation import Preparation, Steps, apply_preparation
from tl_pipeline.tasks import Task

ENSEMBLE = "ensemble"  # the kind of such a head
PREPARATION = "preparation."  # before the names of a head's arrays for it


def average_members(
    task: Task, arrays: Arrays, settings: Settings, rows: np.ndarray
) -> np.ndarray:
    """Returns logits of the weighted average of the members' probabilities, or numbers.

    Args:
      task: What was asked.
      arrays: Those of each member, after its place in the list and a dot.
      settings: `width`, of the rows, and `members`, plain data, of each: `kind`,
        `settings`, `preparation`; its weight `count`; `places`, the ranges of columns
        that it takes of the rows; and `shape`, which its own rows have.
      rows: [N, ...], flattened here.

    Raises:
      FeatureShapeError: The rows have another width.
    """
    flat = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    if flat.shape[1] != settings["width"]:
        raise FeatureShapeError(
            f"its members take {settings['width']} columns together."
        )
    total = np.zeros((len(rows), task.n_outputs))
    for place, member in enumerate(settings["members"]):
        own = arrays_of(arrays, f"{place}.")
        part = [flat[:, start:stop] for start, stop in member["places"]]
        taken = np.concatenate(part, axis=1).reshape(len(rows), *member["shape"])
        preparation = Preparation.from_arrays(
            Steps(**member["preparation"]), arrays_of(own, PREPARATION)
        )
        outputs, _ = KINDS[member["kind"]]
        prepared = apply_preparation(preparation, taken)
        said = apply_link(task, outputs(own, member["settings"], prepared))
        total += member["count"] * said
    n = sum(member["count"] for member in settings["members"])
    return invert_link(task, total / n)


def arrays_of(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Returns those arrays whose names begin so, by what comes after."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
