"""A head on another dataset of its store: is it another domain, and what helps."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import DatasetError, FeatureShapeError, RequestError
from tl_pipeline.evaluation.calibration import apply_temperature, fit_temperature
from tl_pipeline.evaluation.shift import (
    Priors,
    align_coral,
    priors_by_bbse,
    priors_by_em,
    two_sample_test,
)
from tl_pipeline.evaluation.uncertainty import paired_difference
from tl_pipeline.examples import Examples
from tl_pipeline.heads.fitting import FIT_KINDS, fit_heads
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.preparation import apply_preparation, fit_preparation
from tl_pipeline.heads.weights import make_sample_weight
from tl_pipeline.reporting.sentences import count
from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.stages.labeled import Labeled, load_labeled
from tl_pipeline.stages.labels import Labels, make_labels
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.tasks import Task

ALPHA = 0.05  # below it the domains are said to differ

_UNLABELED, _UNKNOWN = -1, -2  # no label; a class that the head does not know


def measure_shift(run: str | Path, dataset: str) -> dict[str, Json]:
    """Says how another dataset differs from a run's, and what would help its head.

    The two-sample test is of examples whose bytes are in one dataset only. Where target
    labels exist, accuracies are over the labeled ones of which the head saw the bytes
    neither in train nor in val; a class that it does not know it gets wrong. Labels of
    the target are for scores alone: nothing is fitted or estimated by them.

    Args:
      run: A run's folder, or a `.current.json`.
      dataset: A dataset in the run's store, with labels or without; its latest
        snapshot.

    Returns:
      Plain data: `run`, `source`, `target`, `counts`, `test` (None where examples are
      too few), `priors` by class, `scores` (empty without target labels) by method,
      `shrinkage` of the alignment, `notes` and a `sentence`.

    Raises:
      NotFoundError: There is no such run, store, snapshot or feature.
      RequestError: The run's task has no classes.
      DatasetError: No example of the dataset has features.
      StoreDamagedError: A file of the store is not the one that was committed.
    """
    loaded = load_run(run)
    head = Head.from_arrays(loaded.head, loaded.head_arrays())
    if not head.task.is_single_class:
        raise RequestError(
            f"Asked for the domain shift of {loaded.path}: its task is "
            f"{head.task.kind}, and shifts are measured for classes alone. Name a run "
            "of a multiclass or binary task."
        )
    store = open_store(loaded.provenance["store"])
    examples = store.snapshot(digest=str(loaded.head["snapshot"]))
    source = _read_source(loaded, head, store, examples)
    notes: list[str] = []
    target = _read_target(loaded, head.task, store, dataset, notes)
    if head.preparation.kept is not None:
        # What the head does not look at has no part in whether it will do there.
        columns = head.preparation.kept.columns
        source, target = (side.of_columns(columns) for side in (source, target))
        head = head.keeping(None)
    if not len(target.ids):
        raise DatasetError(
            f"Asked for the domain shift to {dataset}: none of its examples has a row "
            f"of {head.feature}. Extract it into {store.path}."
        )
    test = _test(source, target, notes)
    priors, outputs = _estimate(loaded, head, source, target, notes)
    aligned, shrinkage = _align(loaded, head, source, target, notes)
    if aligned is not None:
        outputs["aligned"] = aligned
    scores = _score(source, target, outputs, notes)
    known = target.targets[target.targets >= 0]
    if len(known):
        priors["labeled"] = np.bincount(known, minlength=len(head.classes)) / len(known)
    by_class: dict[str, Json] = {
        name: {kind: float(shares[k]) for kind, shares in priors.items()}
        for k, name in enumerate(head.classes)
    }
    return {
        "run": str(loaded.path),
        "source": examples.dataset,
        "target": dataset,
        "counts": {
            "source": len(source.ids),
            "target": len(target.ids),
            "labeled": len(known),
        },
        "test": test,
        "priors": by_class,
        "scores": scores,
        "shrinkage": shrinkage,
        "notes": list(notes),
        "sentence": _sentence(test, examples.dataset, dataset),
    }


def _read_source(
    run: Run, head: Head, store: FeatureStore, examples: Examples
) -> Labeled:
    columns = run.asked["columns"]
    labels = make_labels(
        examples,
        task=head.task.kind,
        targets=columns["target"],
        weight=columns["weight"],
    )
    return load_labeled(store, head.feature, examples, labels=labels, positions=True)


def _read_target(
    run: Run, task: Task, store: FeatureStore, dataset: str, notes: list[str]
) -> Labeled:
    """Reads a row of each content, labeled or not; targets are the head's classes."""
    examples = store.snapshot(dataset)
    texts: Sequence[str | None] = examples.targets
    columns = run.asked["columns"]["target"]
    if columns:
        texts = examples.columns.get(columns[0], (None,) * len(examples))
        if columns[0] not in examples.columns:
            notes.append(f"{dataset} has no column {columns[0]}, the run's target")
    place: dict[str | None, int] = {name: k for k, name in enumerate(task.names)}
    place[None] = _UNLABELED
    encoded = np.array([place.get(text, _UNKNOWN) for text in texts], np.int64)
    known = np.ones(len(examples), bool)
    feature = str(run.head["feature"])
    rows = load_labeled(
        store,
        feature,
        examples,
        labels=Labels(task, encoded, known, None, ""),
        positions=True,
    )
    return rows.take(_first_of_each(rows.content))


def _first_of_each(content: np.ndarray) -> np.ndarray:
    """Returns the rows, in order, that are the first with their bytes."""
    first = {digest.tobytes(): row for row, digest in reversed([*enumerate(content)])}
    return np.array(sorted(first.values()), np.int64)


def _test(source: Labeled, target: Labeled, notes: list[str]) -> dict[str, Json] | None:
    """Tests the rows that are in one dataset only."""
    source, target = source.vectors(), target.vectors()
    ours = source.take(_first_of_each(source.content))
    common = set(map(bytes, ours.content)) & set(map(bytes, target.content))
    sides = [
        side.features[[digest.tobytes() not in common for digest in side.content]]
        for side in (ours, target)
    ]
    if common:
        notes.append(f"{count(len(common), 'example')} in both, left out of the test")
    if any(group is not None for group in (*source.groups, *target.groups)):
        notes.append("examples count as independent, though some are in groups")
    try:
        rng = np.random.default_rng([0, *map(len, sides)])
        found = two_sample_test(*sides, rng=rng)
    except DatasetError as error:
        notes.append(f"not tested: {error}")
        return None
    return {
        "n": found.n,
        "accuracy": found.accuracy._asdict(),
        "p_value": found.p_value,
        "differ": found.p_value <= ALPHA,
    }


def _estimate(
    run: Run, head: Head, source: Labeled, target: Labeled, notes: list[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns class shares, and what the head says under each, by method."""
    train = source.split("train")
    weight = make_sample_weight(
        train.targets, class_weight=_class_weight(run), sample_weight=train.weight
    )
    trained = np.bincount(train.targets, weight, minlength=len(head.classes))
    trained /= trained.sum()
    held = source.take(np.flatnonzero(source.splits != "train"))
    said = head.predict(held.features)
    # Shares by likelihood need probabilities that mean what they say.
    temperature = fit_temperature(head.task, held.targets, said)
    said = apply_temperature(head.task, said, temperature)
    plain = head.predict(target.features)
    scaled = apply_temperature(head.task, plain, temperature)
    priors = {"trained": trained}
    outputs = {"plain": plain}

    def add(name: str, estimate: Callable[[], Priors]) -> None:
        try:
            found = estimate()
        except DatasetError as error:
            notes.append(f"no {name}: {error}")
            return
        priors[name], outputs[name] = found

    add("em", lambda: priors_by_em(scaled, trained))
    add(
        "bbse",
        lambda: priors_by_bbse(
            scaled, trained, held_targets=held.targets, held_probabilities=said
        ),
    )
    return priors, outputs


def _class_weight(run: Run) -> Any:
    asked = run.asked["heads"]["class_weight"]
    return None if asked == "none" else asked


def _align(
    run: Run, head: Head, source: Labeled, target: Labeled, notes: list[str]
) -> tuple[np.ndarray | None, list[float] | None]:
    """Returns what the head says when fitted again on aligned train rows."""
    train = source.split("train")
    if head.kind not in FIT_KINDS:
        notes.append(f"not aligned: a head of kind {head.kind} is not fitted again")
        return None, None
    try:
        aligned = align_coral(train.features, target.features)
    except (DatasetError, FeatureShapeError) as error:
        notes.append(f"not aligned: {error}")
        return None, None
    preparation = fit_preparation(aligned.rows, head.preparation.steps)
    weight = make_sample_weight(
        train.targets, class_weight=_class_weight(run), sample_weight=train.weight
    )
    (fitted,) = fit_heads(
        head.kind,
        apply_preparation(preparation, aligned.rows),
        train.targets,
        task=head.task,
        settings=[{k: v for k, v in head.settings.items() if k != "views"}],
        weight=weight[None],
    )
    again = dataclasses.replace(
        head,
        settings=fitted.settings,
        preparation=preparation,
        arrays=fitted.arrays,
    )
    return again.predict(target.features), list(aligned.shrinkage)


def _score(
    source: Labeled,
    target: Labeled,
    outputs: Mapping[str, np.ndarray],
    notes: list[str],
) -> dict[str, Json]:
    """Scores each method on labeled target rows that the head did not see."""
    seen = {
        digest.tobytes()
        for digest, split in zip(source.content, source.splits, strict=True)
        if split != "test"
    }
    labeled = target.targets != _UNLABELED
    new = np.array([digest.tobytes() not in seen for digest in target.content], bool)
    rows = np.flatnonzero(labeled & new)
    if n := int((labeled & ~new).sum()):
        notes.append(f"{count(n, 'labeled example')} the head saw before, not scored")
    truth = target.targets[rows]
    if n := int((truth == _UNKNOWN).sum()):
        notes.append(f"{count(n, 'example')} of classes that the head does not know")
    if not len(rows):
        return {}
    right = {name: said[rows].argmax(axis=1) == truth for name, said in outputs.items()}
    scores: dict[str, Json] = {}
    for name, correct in right.items():
        rng = np.random.default_rng([1, len(rows)])
        # Accuracy is the gain over being always wrong.
        accuracy = paired_difference(correct, np.zeros_like(correct), rng=rng)
        gain = paired_difference(correct, right["plain"], rng=rng)
        scores[name] = {
            "n": len(rows),
            "accuracy": accuracy._asdict(),
            "gain": None if name == "plain" else gain._asdict(),
        }
    return scores


def _sentence(test: Mapping[str, Any] | None, source: str, target: str) -> str:
    if test is None:
        return f"Too few examples to say whether {source} and {target} differ."
    accuracy = test["accuracy"]
    found = "differ" if test["differ"] else "are not seen to differ"
    return (
        f"{source} and {target} {found}: a classifier tells which is which in "
        f"{accuracy['value']:.1%} (95 % {accuracy['low']:.1%} to "
        f"{accuracy['high']:.1%}; chance is 50 %; p = {test['p_value']:.2g})."
    )
