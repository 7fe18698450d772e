"""A checkup: what of a store's rows and labels deserves a look before training."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError
from tl_pipeline.evaluation.dimensions import (
    effective_rank,
    find_constant,
    measure_norms,
)
from tl_pipeline.evaluation.likeness import (
    Pairs,
    find_equal_rows,
    find_outliers,
    measure_likeness,
)
from tl_pipeline.evaluation.suspects import (
    assign_folds,
    find_suspects,
    predict_held_out,
)
from tl_pipeline.examples import Examples, find_conflicts, find_duplicates, find_leaks
from tl_pipeline.places import Place
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.stages.vectors import Vectors, load_vectors
from tl_pipeline.store.rows import Rows
from tl_pipeline.store.store import open_store

MOST_ROWS = 20_000
NEAR = 0.98
N_FOLDS = 5
_NEIGHBOR = 10  # the one that an outlier is far from
_FIRST = 20  # of a list that may be long


def check_up(
    store: str | Place,
    *,
    dataset: str | None = None,
    snapshot: str | None = None,
    features: Sequence[str] | None = None,
    near: float = NEAR,
    most_rows: int = MOST_ROWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Json]:
    """Looks at the rows of a snapshot, feature by feature, and at its labels.

    Args:
      store: The store's folder.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; by default the latest.
      features: Which features; by default all.
      near: The least cosine, of centered rows, of near duplicates.
      most_rows: Rows drawn where there are more. Same bytes are found among all.
      seed: Of the drawing, and of the folds.
      progress: Told of every feature.

    Returns:
      Plain data: the examples in figures, `same_bytes`, and `features`: of each its
      `rows`, `constant` and `dead` dimensions, `norms`, `effective_rank`,
      `equal_rows`, `near`, `outliers` and `suspects`.

    Raises:
      ConfigError: `near` is no cosine above 0, or `most_rows` is below 2.
      NotFoundError: The store, snapshot or feature is not there.
      RequestError: The store has several datasets and none is named.
    """
    if not 0 < near <= 1:
        raise ConfigError(
            f"Asked for near duplicates of cosine {near}: it must be above 0 and at "
            f"most 1. The default is {NEAR}."
        )
    if most_rows < 2:
        raise ConfigError(f"Asked to look at {most_rows} rows: it takes 2 at least.")
    opened = open_store(store)
    examples = opened.snapshot(dataset, snapshot)
    names = sorted(opened.manifest.features) if features is None else list(features)
    progress = progress or NoProgress()
    progress.start("features looked at", len(names))
    found = []
    for name in names:
        vectors = load_vectors(opened, name, examples, most_rows=most_rows, seed=seed)
        found.append(_check_feature(vectors, near, seed))
        progress.advance(1)
    progress.finish()
    return {
        "store": str(opened.path),
        "dataset": examples.dataset,
        "snapshot": examples.digest,
        "examples": len(examples),
        "labeled": sum(target is not None for target in examples.targets),
        "splits": dict(sorted(Counter(examples.splits).items())),
        "classes": _count_classes(examples),
        "same_bytes": _describe_same_bytes(examples),
        "features": found,
    }


def _count_classes(examples: Examples) -> dict[str, Json]:
    counts = Counter(examples.targets)
    return {name: counts[name] for name in examples.classes}


def _describe_same_bytes(examples: Examples) -> dict[str, Json]:
    groups = find_duplicates(examples)
    leaks, conflicts = find_leaks(examples), find_conflicts(examples)
    return {
        "groups": len(groups),
        "examples": sum(map(len, groups)),
        "leaks": len(leaks),
        "conflicts": len(conflicts),
        "first": groups[:_FIRST],
        "first_leaks": leaks[:_FIRST],
        "first_conflicts": conflicts[:_FIRST],
    }


def _check_feature(vectors: Vectors, near: float, seed: int) -> dict[str, Json]:
    rows = vectors.rows
    constant, dead = find_constant(rows.features)
    norms = measure_norms(rows.features)
    rank = effective_rank(rows.features, rng=np.random.default_rng([seed, 3]))
    return {
        "feature": vectors.feature,
        "shape": list(vectors.shape),
        "averaged": vectors.averaged,
        "rows": len(rows.ids),
        "of": vectors.n_examples,
        "failed": len(rows.failed),
        "dimensions": rows.features.shape[1],
        "constant": {"count": len(constant), "first": constant[:_FIRST].tolist()},
        "dead": {"count": len(dead), "first": dead[:_FIRST].tolist()},
        "norms": norms._asdict(),
        "effective_rank": rank._asdict(),
        **_compare_rows(rows, near),
        "suspects": _suspect(rows, seed),
    }


def _compare_rows(rows: Rows, near: float) -> dict[str, Json]:
    # The same bytes are listed once, for all features; here they would hide the rest.
    _, first = np.unique(rows.content, axis=0, return_index=True)
    kept = np.sort(first)
    features = rows.features[kept]
    equal = find_equal_rows(features)
    if len(kept) < 2:
        return {
            "equal_rows": {"groups": 0, "first": []},
            "near": None,
            "outliers": None,
        }
    splits = np.array(rows.splits)[kept]
    like = measure_likeness(features, splits, above=near, k=_NEIGHBOR)
    far = find_outliers(like.distance)

    def pairs(found: Pairs) -> list[Json]:
        return [
            _describe_pair(rows, kept[pair], float(similarity))
            for pair, similarity in zip(
                found.rows[:_FIRST], found.similarity, strict=False
            )
        ]

    return {
        "equal_rows": {
            "groups": len(equal),
            "first": [[rows.ids[kept[i]] for i in group] for group in equal[:_FIRST]],
        },
        "near": {
            "above": near,
            "pairs": like.pairs.n,
            "examples": int(like.involved.sum()),
            "leaks": like.across.n,
            "first": pairs(like.pairs),
            "first_leaks": pairs(like.across),
        },
        "outliers": {
            "count": len(far),
            "neighbor": min(_NEIGHBOR, len(kept) - 1),
            "usual_distance": float(np.median(like.distance)),
            "first": [
                {
                    "id": rows.ids[kept[i]],
                    "target": rows.targets[kept[i]],
                    "split": rows.splits[kept[i]],
                    "distance": float(like.distance[i]),
                }
                for i in far[:_FIRST]
            ],
        },
    }


def _describe_pair(rows: Rows, pair: np.ndarray, similarity: float) -> Json:
    return {
        "ids": [rows.ids[i] for i in pair],
        "targets": [rows.targets[i] for i in pair],
        "splits": [rows.splits[i] for i in pair],
        "similarity": similarity,
    }


def _suspect(rows: Rows, seed: int) -> dict[str, Json]:
    """Lists label-issue suspects, and how well the labels can be learned at all."""
    units = [
        content.tobytes() if group is None else group
        for content, group in zip(rows.content, rows.groups, strict=True)
    ]
    # A class with one unit is never learned while that unit is held out.
    members: dict[str, set[Any]] = {}
    for target, unit in zip(rows.targets, units, strict=True):
        if target is not None:
            members.setdefault(target, set()).add(unit)
    names = sorted(name for name, held in members.items() if len(held) > 1)
    small = sorted(members.keys() - set(names))
    index = {name: i for i, name in enumerate(names)}
    kept = [i for i, target in enumerate(rows.targets) if target in index]
    facts: dict[str, Any] = {"examined": len(kept), "folds": N_FOLDS, "small": small}
    if len(names) < 2:
        return facts | {"count": None, "held_out_accuracy": None, "first": []}
    targets = np.array([index[str(rows.targets[i])] for i in kept])
    folds = assign_folds(
        targets,
        [units[i] for i in kept],
        n_folds=N_FOLDS,
        rng=np.random.default_rng([seed, 4]),
    )
    shares = predict_held_out(
        rows.features[kept], targets, folds, n_classes=len(names), seed=seed
    )
    known = np.flatnonzero(np.isfinite(shares).all(axis=1))
    suspects = find_suspects(targets[known], shares[known])
    right = shares[known].argmax(axis=1) == targets[known]
    return facts | {
        "examined": len(known),
        "count": len(suspects.rows),
        "held_out_accuracy": float(right.mean()) if len(known) else None,
        "first": [
            {
                "id": rows.ids[kept[known[row]]],
                "target": names[targets[known[row]]],
                "suggested": names[suggested],
                "confidence": float(confidence),
                "split": rows.splits[kept[known[row]]],
            }
            for row, suggested, confidence in zip(*suspects, strict=True)
        ][:_FIRST],
    }
