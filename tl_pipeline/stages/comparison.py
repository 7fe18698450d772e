"""The head beside its baselines: same examples, same head, other features."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.evaluation.transfer import Verdict, judge_transfer
from tl_pipeline.stages.labeled import Labeled, load_labeled
from tl_pipeline.stages.sweep import choose_candidate, few_shot_correct, sweep_linear
from tl_pipeline.store.store import open_store


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the head and its baselines get right on the same test examples.

    Attributes:
      rows: A row of the table each, plain data: `name`, `feature`, `dimensions`,
        `n_train`, `accuracy` at full data, `strength` chosen, and `shots`: for each k
        the `mean` and `spread` (standard deviation) of the accuracy over seeds.
      verdict: Whether the transfer helped.
      heads_trained: How many heads that took.
    """

    rows: tuple[Mapping[str, Json], ...]
    verdict: Verdict
    heads_trained: int


def compare_baselines(
    chosen: Labeled,
    baselines: Sequence[Mapping[str, Any]],
    *,
    name: str,
    l2: Sequence[float],
    shots: Sequence[int],
    n_seeds: int,
    unit: str,
) -> Comparison:
    """Trains the same head on baseline features, from their stores alone.

    Args:
      chosen: The labeled rows of the feature that was chosen.
      baselines: Each `{name, store, snapshot, features}`.
      name: What the table calls the backbone.
      l2: The strengths, chosen on val for each anew.
      shots: Numbers of examples a class to compare at, beside all of them.
      n_seeds: Subsets drawn for each of these.
      unit: What test examples are called.
    """
    loaded: list[tuple[str, Labeled]] = [(name, chosen)]
    for baseline in baselines:
        store = open_store(baseline["store"])
        examples = store.snapshot(digest=baseline["snapshot"])
        # The first feature stands for the network, as the chosen one does.
        feature = chosen.feature
        if feature not in baseline["features"]:
            feature = baseline["features"][0]
        loaded.append((baseline["name"], load_labeled(store, feature, examples)))
    common = set.intersection(*(set(data.ids) for _, data in loaded))
    rows, correct = [], {}
    for label, data in loaded:
        part = keep_ids(data, common)
        candidates = sweep_linear(part, l2)
        best = candidates[choose_candidate(candidates)].head
        train, test = part.split("train"), part.split("test")
        right = best.predict(test.features).argmax(axis=1) == test.targets
        correct[label] = right
        by_shots = {}
        for k in shots:
            few = few_shot_correct(part, k=k, n_seeds=n_seeds, l2=l2).mean(axis=1)
            by_shots[str(k)] = {"mean": float(few.mean()), "spread": float(few.std())}
        rows.append(
            {
                "name": label,
                "feature": part.feature,
                "dimensions": part.features.shape[1],
                "n_train": len(train.rows),
                "n_test": len(test.rows),
                "accuracy": float(right.mean()),
                "l2": best.settings["l2"],
                "shots": by_shots,
            }
        )
    verdict = judge_transfer(
        {label: (correct[name], correct[label]) for label, _ in loaded[1:]},
        rng=np.random.default_rng([0, len(common)]),
        unit=unit,
    )
    each = len(l2) * (1 + n_seeds * len(shots))
    return Comparison(tuple(rows), verdict, each * len(loaded))


def keep_ids(data: Labeled, ids: set[str]) -> Labeled:
    """Returns the rows of some ids, in order."""
    return data.take(np.flatnonzero([id in ids for id in data.ids]))
