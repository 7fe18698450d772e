"""A sweep: heads of many strengths on one feature, in one program, scored on val."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.evaluation.fewshot import k_shot_rows
from tl_pipeline.evaluation.metrics import score
from tl_pipeline.evaluation.selection import choose
from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.linear import fit_linear
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.stages.labeled import Labeled


class Candidate(NamedTuple):
    """One fitted head and its metrics on the validation split."""

    head: Head
    val: dict[str, float]
    converged: bool


def sweep_linear(data: Labeled, l2: Sequence[float]) -> list[Candidate]:
    """Fits a head of each strength on train and scores it on val.

    Args:
      data: The labeled rows of one feature.
      l2: The strengths.
    """
    train, val = data.split("train"), data.split("val")
    standardizer = fit_standardizer(train.features)
    fitted = fit_linear(
        apply_standardizer(standardizer, train.features),
        train.targets,
        n_classes=len(data.classes),
        l2=l2,
    )
    candidates = []
    for i, strength in enumerate(l2):
        head = Head(
            kind="linear",
            feature=data.feature,
            classes=data.classes,
            settings={
                "l2": float(strength),
                "C": sklearn_c(float(strength), len(train.targets)),
            },
            standardizer=standardizer,
            kernel=fitted.kernel[i],
            bias=fitted.bias[i],
        )
        metrics = score(val.targets, head.predict_proba(val.features))
        candidates.append(Candidate(head, metrics, bool(fitted.converged[i])))
    return candidates


def choose_candidate(candidates: Sequence[Candidate]) -> int:
    """Returns the index of the candidate that does best on val; see `choose`."""
    strengths = [float(str(c.head.settings["l2"])) for c in candidates]
    return choose([c.val for c in candidates], strength=strengths)


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
    standardizer = fit_standardizer(train.features)
    weights = np.zeros((n_seeds, len(train.targets)), np.float32)
    for seed in range(n_seeds):
        rng = np.random.default_rng([seed, k])
        weights[seed, k_shot_rows(train.targets, k, rng=rng)] = 1
    fitted = fit_linear(
        apply_standardizer(standardizer, train.features),
        train.targets,
        n_classes=len(data.classes),
        l2=list(l2) * n_seeds,
        sample_weight=weights.repeat(len(l2), axis=0),
    )
    correct = []
    for seed in range(n_seeds):
        heads = [
            Head(
                kind="linear",
                feature=data.feature,
                classes=data.classes,
                settings={"l2": float(strength)},
                standardizer=standardizer,
                kernel=fitted.kernel[seed * len(l2) + i],
                bias=fitted.bias[seed * len(l2) + i],
            )
            for i, strength in enumerate(l2)
        ]
        scores = [score(val.targets, h.predict_proba(val.features)) for h in heads]
        best = heads[choose(scores, strength=l2)]
        predicted = best.predict_proba(test.features).argmax(axis=1)
        correct.append(predicted == test.targets)
    return np.stack(correct)
