"""Which tasks of a store help which: what the answers to one tell of another.

Only train examples are looked at, so that test stays unseen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, DatasetError, RequestError
from tl_pipeline.evaluation.folds import assign_folds
from tl_pipeline.evaluation.relatedness import explained_share
from tl_pipeline.examples import Examples
from tl_pipeline.files import write_atomically
from tl_pipeline.heads.links import apply_link
from tl_pipeline.heads.ridge import RidgeHeads, fit_ridge, fit_ridge_classifier
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.places import Place
from tl_pipeline.reporting.heatmap import FORMATS, draw_heatmap
from tl_pipeline.stages.labels import Labels, make_labels
from tl_pipeline.stages.vectors import choose_feature, load_vectors
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.tasks import Task

MOST_ROWS = 5000
_LEAST_ROWS = 60
_L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class _Target(NamedTuple):
    """A task's targets over all rows; `known` says which of them are any."""

    task: Task
    targets: np.ndarray
    known: np.ndarray


class _Asked(NamedTuple):
    """What is related: N rows of one dataset or several, and the tasks."""

    dataset: str
    features: np.ndarray
    content: np.ndarray
    groups: tuple[str | None, ...]
    tasks: tuple[_Target, ...]


def relate_tasks(
    store: str | Place,
    targets: Sequence[str],
    *,
    dataset: str | None = None,
    feature: str | None = None,
    picture: str | Path | None = None,
    most_rows: int = MOST_ROWS,
    seed: int = 0,
) -> dict[str, Json]:
    """Measures how much a head's answers to each task tell of each other task.

    A third of the train examples fits a ridge head of each task on the features. A
    second third fits, for each pair, a ridge head of the one task on the answers to the
    other. The last third scores it: the share of the prior's loss that it saves. Tasks
    may be of different datasets of the store: the head of one then answers the examples
    of the other, which need no target of its own.

    Args:
      store: The store's folder.
      targets: Tasks, two at least: columns of a snapshot, or `target`, its own. Those
        of another dataset are written `dataset:column`.
      dataset: Which dataset has the others; needed where the store has several.
      feature: Which feature; by default the only one, or `pool`.
      picture: A .png or .svg file to draw the matrix to.
      most_rows: Train examples of a dataset drawn where there are more.
      seed: Of the drawing.

    Returns:
      Plain data: `dataset`, `feature`, `examples`, `tasks`, `kinds`, `matrix` (a row a
      task whose answers are given, a column a task that is asked) and `picture`.

    Raises:
      RequestError: Fewer than two tasks, or a column is not there.
      ConfigError: The picture has another ending.
      DatasetError: Too few train examples have a target, or one has one class.
      NotFoundError: There is no such store, dataset or feature.
    """
    if len(set(targets)) < 2:
        raise RequestError(
            f"Asked to relate {', '.join(targets) or 'no tasks'}: name two or more "
            "target columns."
        )
    if picture is not None and Path(picture).suffix not in FORMATS:
        raise ConfigError(
            f"Asked to draw {picture}: pictures end in {' or '.join(FORMATS)}."
        )
    opened = open_store(store)
    name = choose_feature(opened, feature)
    asked = _load_tasks(
        opened, targets, dataset, feature=name, most_rows=most_rows, seed=seed
    )
    folds = assign_folds(
        np.zeros(len(asked.features), np.int64),
        asked.content,
        n_folds=3,
        groups=asked.groups,
    )
    # Of each task: the rows that fit its head, that fit one on answers, and that score.
    parts = [[one.known & (folds == fold) for fold in range(3)] for one in asked.tasks]
    answers = [
        _answer(_prepared(asked.features, first), one.task, one.targets, first)
        for one, (first, _, _) in zip(asked.tasks, parts, strict=True)
    ]
    matrix = []
    for said in answers:
        row = []
        for one, (_, second, last) in zip(asked.tasks, parts, strict=True):
            task, truth = one.task, one.targets
            given = _answer(_prepared(said, second), task, truth, second)
            outputs = apply_link(task, given[last])
            prior = _prior(task, truth[second])
            row.append(explained_share(task, truth[last], outputs, prior))
        matrix.append(row)
    if picture is not None:
        drawn = draw_heatmap(
            np.array(matrix),
            list(targets),
            title=f"{asked.dataset}: what answers to one task tell of another",
            format=Path(picture).suffix,
        )
        write_atomically(Path(picture), drawn)
    return {
        "dataset": asked.dataset,
        "feature": name,
        "examples": len(asked.features),
        "tasks": list(targets),
        "kinds": [one.task.kind for one in asked.tasks],
        "matrix": matrix,
        "picture": str(picture) if picture is not None else None,
    }


def _load_tasks(
    store: FeatureStore,
    targets: Sequence[str],
    dataset: str | None,
    *,
    feature: str,
    most_rows: int,
    seed: int,
) -> _Asked:
    """Reads the train examples of all datasets asked for, one after another."""
    known_datasets = {entry.dataset for entry in store.manifest.snapshots}
    columns_of: dict[str | None, list[tuple[int, str]]] = {}
    for number, target in enumerate(targets):
        before, colon, after = target.partition(":")
        of_other = bool(colon) and before in known_datasets
        key, column = (before, after) if of_other else (dataset, target)
        columns_of.setdefault(key, []).append((number, column))
    names, features, content, groups = [], [], [], []
    found: dict[int, tuple[Labels, np.ndarray, int]] = {}
    n_rows = 0
    for key, columns in columns_of.items():
        examples = store.snapshot(key)
        labels = [_make_labels(examples, column) for _, column in columns]
        is_train = np.array([split == "train" for split in examples.splits])
        usable = np.logical_or.reduce([one.known for one in labels]) & is_train
        trained = np.flatnonzero(usable)
        for (_, column), one in zip(columns, labels, strict=True):
            n = int((one.known & is_train).sum())
            if n < _LEAST_ROWS:
                raise DatasetError(
                    f"Asked to relate tasks of {examples.dataset}: {n} train examples "
                    f"have {column}, and it takes {_LEAST_ROWS}."
                )
        part = examples.take(trained)
        rows = load_vectors(store, feature, part, most_rows=most_rows, seed=seed).rows
        place = {id: row for row, id in enumerate(part.ids)}
        kept = trained[[place[id] for id in rows.ids]]
        for (number, _), one in zip(columns, labels, strict=True):
            found[number] = one, kept, n_rows
        names.append(examples.dataset)
        features.append(rows.features)
        content.append(rows.content)
        groups += rows.groups
        n_rows += len(kept)
    tasks = []
    for number in range(len(targets)):
        labels, kept, start = found[number]
        known = np.zeros(n_rows, bool)
        known[start : start + len(kept)] = labels.known[kept]
        padded = np.zeros((n_rows, *labels.targets.shape[1:]), labels.targets.dtype)
        padded[start : start + len(kept)] = labels.targets[kept]
        tasks.append(_Target(labels.task, padded, known))
    return _Asked(
        " and ".join(dict.fromkeys(names)),
        np.concatenate(features),
        np.concatenate(content),
        tuple(groups),
        tuple(tasks),
    )


def _make_labels(examples: Examples, column: str) -> Labels:
    is_own = column == "target" and column not in examples.columns
    return make_labels(examples, targets=() if is_own else [column])


def _prepared(rows: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    return apply_standardizer(fit_standardizer(rows[fitted]), rows)


def _answer(
    rows: np.ndarray, task: Task, targets: np.ndarray, fitted: np.ndarray
) -> np.ndarray:
    """Returns what a ridge head fitted to some rows says of all: [N, K] logits."""
    if task.kind == "regression":
        heads = fit_ridge(rows[fitted], targets[fitted], l2=_L2)
    else:
        heads = fit_ridge_classifier(
            rows[fitted],
            targets[fitted],
            kind=task.kind,
            n_classes=task.n_outputs,
            l2=_L2,
        )
    best = _best(heads)
    return rows @ heads.kernel[best] + heads.bias[best]


def _best(heads: RidgeHeads) -> int:
    losses = np.where(np.isfinite(heads.leave_one_out), heads.leave_one_out, np.inf)
    return int(np.argmin(losses))


def _prior(task: Task, targets: np.ndarray) -> np.ndarray:
    """Returns what is said without looking, of examples that it is not scored on."""
    if task.is_single_class:
        # As if one more example of each class had been seen.
        counts = np.bincount(targets, minlength=task.n_outputs) + 1.0
        return counts / counts.sum()
    return np.nanmean(targets, axis=0)
