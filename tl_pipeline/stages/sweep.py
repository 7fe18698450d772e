"""A sweep: heads of many settings on one feature, fitted together and scored."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tl_pipeline.evaluation.fewshot import k_shot_rows
from tl_pipeline.evaluation.metrics import score
from tl_pipeline.evaluation.selection import choose
from tl_pipeline.heads.fitting import Fitted, fit_heads
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.preparation import (
    Preparation,
    Steps,
    apply_preparation,
    fit_preparation,
)
from tl_pipeline.heads.weights import make_sample_weight
from tl_pipeline.stages.choosing import Choosing
from tl_pipeline.stages.labeled import Labeled, Split

STANDARDIZED = Steps()
ClassWeight = Literal["none", "balanced"]


class Candidate(NamedTuple):
    """One fitted head, and how it did where heads are chosen.

    Attributes:
      head: The head, fitted on all of train.
      scores: Its metrics there.
      outputs: What it said there, or what the heads of its folds said: [N, K] float64.
      converged: Whether the search came to its end.
    """

    head: Head
    scores: dict[str, float]
    outputs: np.ndarray
    converged: bool


def sweep(
    data: Labeled,
    kind: str,
    settings: Sequence[Mapping[str, Any]],
    *,
    choosing: Choosing,
    steps: Steps = STANDARDIZED,
    class_weight: ClassWeight = "none",
    columns: Sequence[np.ndarray] | None = None,
    views: np.ndarray | None = None,
) -> list[Candidate]:
    """Fits a head of each setting on train and scores it where heads are chosen.

    All settings, and by cross-validation all folds too, are fitted in one call, or in
    one for each list of columns. The preparation is fitted on the whole train split,
    whose targets it does not look at.

    Args:
      data: The labeled rows of one feature.
      kind: The kind of the heads.
      settings: Their settings.
      choosing: Where to score.
      steps: What is done to rows first.
      class_weight: `balanced`: every class counts the same.
      columns: Which columns of the rows to keep: of the heads on all of train, and then
        of each fold's, chosen without looking at it; by default all.
      views: [V, N, ...] float32 augmented views of the N train rows, to train on too.
    """
    train = data.split("train")
    weight = part_weights(train, choosing, class_weight)
    n_parts = len(weight)
    if columns is None:
        groups = [(np.arange(n_parts), None)]
    else:
        groups = [(np.array([part]), own) for part, own in enumerate(columns)]
    heads: dict[tuple[int, int], tuple[Head, bool]] = {}
    for parts, own in groups:
        preparation = fit_preparation(train.features, steps, columns=own)
        fitted = fit_heads(
            kind,
            apply_preparation(preparation, train.features),
            train.targets,
            task=data.task,
            settings=[setting for setting in settings for _ in parts],
            weight=np.tile(weight[parts], (len(settings), 1)),
            views=_prepare_views(preparation, views),
        )
        for i, one in enumerate(fitted):
            place = i // len(parts), int(parts[i % len(parts)])
            if views is not None:
                one = one._replace(settings={**one.settings, "views": len(views)})
            heads[place] = _make_head(data, preparation, one), one.converged
    targets = data.targets[choosing.rows]
    candidates = []
    for setting in range(len(settings)):
        found = [heads[setting, part] for part in range(n_parts)]
        head, *of_folds = (head for head, _ in found)
        outputs = np.empty((len(choosing.rows), data.task.n_outputs))
        if choosing.method == "val":
            outputs[:] = head.predict(data.features[choosing.rows])
        for fold, of_fold in enumerate(of_folds):
            held = choosing.folds == fold
            outputs[held] = of_fold.predict(data.features[choosing.rows[held]])
        scores = score(targets, outputs, task=data.task)
        converged = all(converged for _, converged in found)
        candidates.append(Candidate(head, scores, outputs, converged))
    return candidates


def _prepare_views(
    preparation: Preparation, views: np.ndarray | None
) -> np.ndarray | None:
    """Prepares views as rows are, by what was fitted on plain ones."""
    if views is None:
        return None
    return np.stack([apply_preparation(preparation, view) for view in views])


def part_weights(
    train: Split, choosing: Choosing, class_weight: ClassWeight
) -> np.ndarray:
    """Returns what each train example counts: [P, N] float64.

    In all of train, and for each fold in what the fold does not hold.
    """
    kept = [np.ones(len(train.rows), bool)]
    kept += [choosing.folds != fold for fold in range(choosing.n_folds)]
    return np.stack(kept) * make_sample_weight(
        train.targets,
        class_weight=None if class_weight == "none" else class_weight,
        sample_weight=train.weight,
    )


def choose_candidate(candidates: Sequence[Candidate]) -> int:
    """Returns the index of the candidate that does best; see `choose`."""
    strengths = [float(str(c.head.settings.get("l2", 0))) for c in candidates]
    task = candidates[0].head.task
    return choose([c.scores for c in candidates], strength=strengths, task=task)


def few_shot_outputs(
    data: Labeled,
    *,
    k: int,
    n_seeds: int,
    l2: Sequence[float],
    choosing: Choosing,
) -> np.ndarray:
    """Trains on k examples a class, over and over, and tells what each says of test.

    All seeds and strengths are fitted in one call: a subset is a row of sample weights.
    The strength is chosen on val, or, where heads are chosen by cross-validation, on
    the train examples outside of the subset; for a backbone and its baselines alike.
    Features are standardized by the whole train split, whose labels are not needed.

    Args:
      data: The labeled rows of one feature.
      k: Examples a class.
      n_seeds: S subsets; subset i is the same one for the same examples.
      l2: The strengths.
      choosing: Where heads are chosen.

    Returns:
      [S, N, K] float64 over the test examples.
    """
    train, test = data.split("train"), data.split("test")
    preparation = fit_preparation(train.features, STANDARDIZED)
    weight = np.zeros((n_seeds, len(train.targets)))
    for seed in range(n_seeds):
        rng = np.random.default_rng([seed, k])
        weight[seed, k_shot_rows(train.targets, k, rng=rng)] = 1
    fitted = fit_heads(
        "linear",
        apply_preparation(preparation, train.features),
        train.targets,
        task=data.task,
        settings=[{"l2": strength} for strength in l2] * n_seeds,
        weight=weight.repeat(len(l2), axis=0),
    )
    outputs = []
    for seed in range(n_seeds):
        heads = [
            _make_head(data, preparation, one)
            for one in fitted[seed * len(l2) : (seed + 1) * len(l2)]
        ]
        rows = choosing.rows
        if choosing.method == "cv" and not weight[seed].all():
            rows = train.rows[weight[seed] == 0]
        scores = [
            score(data.targets[rows], h.predict(data.features[rows]), task=data.task)
            for h in heads
        ]
        best = heads[choose(scores, strength=l2)]
        outputs.append(best.predict(test.features))
    return np.stack(outputs)


def _make_head(data: Labeled, preparation: Preparation, fitted: Fitted) -> Head:
    return Head(
        kind=fitted.kind,
        feature=data.feature,
        task=data.task,
        settings=fitted.settings,
        preparation=preparation,
        arrays=fitted.arrays,
    )
