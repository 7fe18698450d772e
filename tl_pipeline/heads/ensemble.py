"""Several fitted heads as one, which averages what they say."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.members import ENSEMBLE
from tl_pipeline.heads.preparation import Preparation, Steps

JOIN = "+"  # between the names of features, as in a head's


def make_ensemble(
    members: Sequence[tuple[Head, int]], *, shapes: Mapping[str, tuple[int, ...]]
) -> Head:
    """Returns a head that averages the probabilities, or numbers, of some heads.

    Its rows are those of all features that a member takes, each once, side by side.

    Args:
      members: Heads of one task, on stored rows, and what each counts.
      shapes: The shape of a row of each feature.
    """
    names = list(dict.fromkeys(n for h, _ in members for n in h.feature.split(JOIN)))
    widths = [math.prod(shapes[name]) for name in names]
    ends = np.cumsum(widths).tolist()
    place_of = {
        name: [end - width, end]
        for name, width, end in zip(names, widths, ends, strict=True)
    }
    described: list[Json] = []
    arrays: dict[str, np.ndarray] = {}
    for place, (head, count) in enumerate(members):
        own = head.feature.split(JOIN)
        flat = sum(math.prod(shapes[name]) for name in own)
        described.append(
            {
                "kind": head.kind,
                "feature": head.feature,
                "count": count,
                "settings": dict(head.settings),
                "preparation": dataclasses.asdict(head.preparation.steps),
                "places": [place_of[name] for name in own],
                "shape": list(shapes[own[0]]) if len(own) == 1 else [flat],
            }
        )
        for name, array in head.to_arrays().items():
            arrays[f"{place}.{name}"] = array
    first, _ = members[0]
    return Head(
        kind=ENSEMBLE,
        feature=JOIN.join(names),
        task=first.task,
        settings={"width": ends[-1], "members": described},
        preparation=Preparation(Steps(standardize=False), None),
        arrays=arrays,
    )
