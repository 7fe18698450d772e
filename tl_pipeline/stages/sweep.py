"""A sweep: heads of many strengths on one feature, in one program, scored on val."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.evaluation.fewshot import k_shot_rows
from tl_pipeline.evaluation.folds import assign_folds
from tl_pipeline.evaluation.metrics import score
from tl_pipeline.evaluation.selection import choose
from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.head import Head, softmax
from tl_pipeline.heads.linear import LinearHeads, fit_linear, predict_logits
from tl_pipeline.heads.preparation import (
    Preparation,
    Steps,
    apply_preparation,
    fit_preparation,
)
from tl_pipeline.stages.labeled import Labeled

STANDARDIZED = Steps()


class Candidate(NamedTuple):
    """One fitted head and its metrics on the validation split."""

    head: Head
    val: dict[str, float]
    converged: bool


def sweep_linear(
    data: Labeled, l2: Sequence[float], *, steps: Steps = STANDARDIZED
) -> list[Candidate]:
    """Fits a head of each strength on train and scores it on val.

    Args:
      data: The labeled rows of one feature.
      l2: The strengths.
      steps: What is done to rows first.
    """
    train, val = data.split("train"), data.split("val")
    preparation = fit_preparation(train.features, steps)
    fitted = fit_linear(
        apply_preparation(preparation, train.features),
        train.targets,
        n_classes=data.task.n_outputs,
        l2=l2,
    )
    candidates = []
    for i, strength in enumerate(l2):
        head = _linear_head(data, preparation, fitted, i, strength)
        metrics = score(val.targets, head.predict(val.features))
        candidates.append(Candidate(head, metrics, bool(fitted.converged[i])))
    return candidates


def choose_candidate(candidates: Sequence[Candidate]) -> int:
    """Returns the index of the candidate that does best on val; see `choose`."""
    strengths = [float(str(c.head.settings["l2"])) for c in candidates]
    return choose([c.val for c in candidates], strength=strengths)


def cross_validate(
    data: Labeled,
    l2: Sequence[float],
    *,
    n_folds: int,
    groups: Sequence[str | None] | None = None,
) -> list[dict[str, float]]:
    """Scores each strength on train alone, each example by a head that never saw it.

    All strengths and folds are fitted in one call. Features are standardized by the
    whole train split, whose labels are not needed.

    Args:
      data: The labeled rows of one feature; val and test are left alone.
      l2: The strengths.
      n_folds: At least 2; see `assign_folds`.
      groups: N group names, which no fold splits; None where there is no group.

    Returns:
      The metrics of each strength, over all train examples, for `choose`.

    Raises:
      ConfigError: `n_folds` is more than there are groups or examples.
    """
    train = data.split("train")
    fold = assign_folds(
        train.targets,
        data.content[train.rows],
        n_folds=n_folds,
        groups=None if groups is None else [groups[row] for row in train.rows],
    )
    preparation = fit_preparation(train.features, STANDARDIZED)
    features = apply_preparation(preparation, train.features)
    kept = fold != np.arange(n_folds)[:, None]
    fitted = fit_linear(
        features,
        train.targets,
        n_classes=data.task.n_outputs,
        l2=np.repeat(l2, n_folds).tolist(),
        sample_weight=np.tile(kept, (len(l2), 1)),
    )
    probabilities = np.empty((len(l2), len(features), data.task.n_outputs))
    for held in range(n_folds):
        rows = fold == held
        of_fold = fitted.take(range(held, len(fitted.loss), n_folds))
        probabilities[:, rows] = softmax(predict_logits(of_fold, features[rows]))
    return [score(train.targets, of_strength) for of_strength in probabilities]


def few_shot_correct(
    data: Labeled, *, k: int, n_seeds: int, l2: Sequence[float]
) -> np.ndarray:
    """Trains on k examples a class, over and over, and tells what each gets right.

    All seeds and strengths are one program: a subset is a row of sample weights. The
    strength is chosen on the whole val split, for a backbone and its baselines alike.
    Features are standardized by the whole train split, whose labels are not needed.

    Args:
      data: The labeled rows of one feature.
      k: Examples a class.
      n_seeds: S subsets; subset i is the same one for the same examples.
      l2: The strengths.

    Returns:
      [S, N] bool over the test examples.
    """
    train, val, test = (data.split(name) for name in ("train", "val", "test"))
    preparation = fit_preparation(train.features, STANDARDIZED)
    weights = np.zeros((n_seeds, len(train.targets)), np.float32)
    for seed in range(n_seeds):
        rng = np.random.default_rng([seed, k])
        weights[seed, k_shot_rows(train.targets, k, rng=rng)] = 1
    fitted = fit_linear(
        apply_preparation(preparation, train.features),
        train.targets,
        n_classes=data.task.n_outputs,
        l2=list(l2) * n_seeds,
        sample_weight=weights.repeat(len(l2), axis=0),
    )
    correct = []
    for seed in range(n_seeds):
        heads = [
            _linear_head(data, preparation, fitted, seed * len(l2) + i, strength)
            for i, strength in enumerate(l2)
        ]
        scores = [score(val.targets, h.predict(val.features)) for h in heads]
        best = heads[choose(scores, strength=l2)]
        predicted = best.predict(test.features).argmax(axis=1)
        correct.append(predicted == test.targets)
    return np.stack(correct)


def _linear_head(
    data: Labeled,
    preparation: Preparation,
    fitted: LinearHeads,
    index: int,
    strength: float,
) -> Head:
    kernel, bias = fitted.kernel[index], fitted.bias[index]
    if data.task.kind == "binary":  # one logit: that of the second class
        kernel, bias = np.diff(kernel, axis=1), np.diff(bias)
    n_train = len(data.split("train").targets)
    return Head(
        kind="linear",
        feature=data.feature,
        task=data.task,
        settings={"l2": float(strength), "C": sklearn_c(float(strength), n_train)},
        preparation=preparation,
        arrays={"kernel": kernel, "bias": bias},
    )
