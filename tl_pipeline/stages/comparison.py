"""The head beside its baselines: same examples, same head, other features."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.evaluation.merits import MEASURES, POINTS, find_merits
from tl_pipeline.evaluation.transfer import Verdict, judge_transfer
from tl_pipeline.stages.choosing import choose_rows
from tl_pipeline.stages.labeled import Labeled, load_labeled
from tl_pipeline.stages.labels import make_labels
from tl_pipeline.stages.sweep import choose_candidate, few_shot_outputs, sweep
from tl_pipeline.store.store import open_store


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the head and its baselines get right on the same test examples.

    Attributes:
      rows: A row of the table each, plain data: `name`, `feature`, `dimensions`,
        `n_train`, `measure` (the accuracy, that of labels, or R²) and the `score` at
        full data, the strength `l2` chosen, and `shots`: for each k the `mean` and
        `spread` (standard deviation) of the score over seeds.
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
    targets: Sequence[str] = (),
    l2: Sequence[float],
    shots: Sequence[int],
    n_seeds: int,
    unit: str,
    selection: Literal["auto", "val", "cv"] = "auto",
    n_folds: int = 5,
) -> Comparison:
    """Trains the same head on baseline features, from their stores alone.

    Args:
      chosen: The labeled rows of the feature that was chosen.
      baselines: Each `{name, store, snapshot, features}`.
      name: What the table calls the backbone.
      targets: The columns of the targets, where they are several.
      l2: The strengths, chosen for each anew.
      shots: Numbers of examples a class to compare at, beside all of them.
      n_seeds: Subsets drawn for each of these.
      unit: What test examples are called.
      selection: Where strengths are chosen; see `choose_rows`.
      n_folds: Likewise.
    """
    task = chosen.task
    loaded: list[tuple[str, Labeled]] = [(name, chosen)]
    for baseline in baselines:
        store = open_store(baseline["store"])
        examples = store.snapshot(digest=baseline["snapshot"])
        # The first feature stands for the network, as the chosen one does.
        feature = chosen.feature
        if feature not in baseline["features"]:
            feature = baseline["features"][0]
        labels = make_labels(examples, task=task.kind, targets=targets)
        data = load_labeled(store, feature, examples, labels=labels, positions=True)
        loaded.append((baseline["name"], data.vectors()))
    common = set.intersection(*(set(data.ids) for _, data in loaded))
    settings = [{"l2": strength} for strength in l2]
    # Numbers have no examples a class; labels have too many combinations.
    shots = shots if task.is_single_class else ()
    rows, merits, n_trained = [], {}, 0
    for label, data in loaded:
        part = keep_ids(data, common)
        choosing = choose_rows(part, method=selection, n_folds=n_folds)
        candidates = sweep(part, "linear", settings, choosing=choosing)
        best = candidates[choose_candidate(candidates)].head
        train, test = part.split("train"), part.split("test")
        found = find_merits(part.task, test.targets, best.predict(test.features))
        merits[label] = found
        n_trained += len(l2) * (1 + choosing.n_folds + n_seeds * len(shots))
        by_shots = {}
        for k in shots:
            outputs = few_shot_outputs(
                part, k=k, n_seeds=n_seeds, l2=l2, choosing=choosing
            )
            few = find_merits(part.task, test.targets, outputs).mean(axis=1)
            by_shots[str(k)] = {"mean": float(few.mean()), "spread": float(few.std())}
        rows.append(
            {
                "name": label,
                "feature": part.feature,
                "dimensions": part.features.shape[1],
                "n_train": len(train.rows),
                "n_test": len(test.rows),
                "measure": MEASURES[task.kind],
                "score": float(found.mean()),
                "l2": best.settings["l2"],
                "shots": by_shots,
            }
        )
    verdict = judge_transfer(
        {label: (merits[name], merits[label]) for label, _ in loaded[1:]},
        rng=np.random.default_rng([0, len(common)]),
        unit=unit,
        points=POINTS[task.kind],
    )
    return Comparison(tuple(rows), verdict, n_trained)


def keep_ids(data: Labeled, ids: set[str]) -> Labeled:
    """Returns the rows of some ids, in order."""
    return data.take(np.flatnonzero([id in ids for id in data.ids]))
