"""Which tasks of a store help which: what the answers to one tell of another.

Only train examples are looked at, so that test stays unseen.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError, DatasetError, RequestError
from tl_pipeline.evaluation.folds import assign_folds
from tl_pipeline.evaluation.relatedness import explained_share
from tl_pipeline.files import write_atomically
from tl_pipeline.heads.links import apply_link
from tl_pipeline.heads.ridge import RidgeHeads, fit_ridge, fit_ridge_classifier
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.reporting.heatmap import FORMATS, draw_heatmap
from tl_pipeline.stages.labels import make_labels
from tl_pipeline.stages.vectors import choose_feature, load_vectors
from tl_pipeline.store.store import open_store
from tl_pipeline.tasks import Task

MOST_ROWS = 5000
_LEAST_ROWS = 60
_L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def relate_tasks(
    store: str | Path,
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
    other. The last third scores it: the share of the prior's loss that it saves.

    Args:
      store: The store's folder.
      targets: Columns of the snapshot, each a task; two at least.
      dataset: Which dataset; needed where the store has several.
      feature: Which feature; by default the only one, or `pool`.
      picture: A .png or .svg file to draw the matrix to.
      most_rows: Train examples drawn where there are more.
      seed: Of the drawing.

    Returns:
      Plain data: `dataset`, `feature`, `examples`, `tasks`, `kinds`, `matrix` (a row a
      task whose answers are given, a column a task that is asked) and `picture`.

    Raises:
      RequestError: Fewer than two tasks, or a column is not there.
      ConfigError: The picture has another ending.
      DatasetError: Too few train examples have all targets, or one has one class.
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
    examples = opened.snapshot(dataset)
    labels = [make_labels(examples, targets=[name]) for name in targets]
    known = np.logical_and.reduce([one.known for one in labels])
    known &= np.array([split == "train" for split in examples.splits])
    examples = examples.take(np.flatnonzero(known))
    name = choose_feature(opened, feature)
    if len(examples) < _LEAST_ROWS:
        raise DatasetError(
            f"Asked to relate tasks of {examples.dataset}: {len(examples)} train "
            f"examples have all of {', '.join(targets)}, and it takes {_LEAST_ROWS}."
        )
    rows = load_vectors(opened, name, examples, most_rows=most_rows, seed=seed).rows
    place = {id: row for row, id in enumerate(examples.ids)}
    kept = np.flatnonzero(known)[[place[id] for id in rows.ids]]
    tasks = [one.task for one in labels]
    encoded = [one.targets[kept] for one in labels]
    folds = assign_folds(
        np.zeros(len(kept), np.int64), rows.content, n_folds=3, groups=rows.groups
    )
    first, second, last = (folds == fold for fold in range(3))
    features = _prepared(rows.features, first)
    answers = [
        _answer(features, task, truth, first)
        for task, truth in zip(tasks, encoded, strict=True)
    ]
    matrix = []
    for said in answers:
        given = _prepared(said, second)
        row = []
        for task, truth in zip(tasks, encoded, strict=True):
            outputs = apply_link(task, _answer(given, task, truth, second)[last])
            prior = _prior(task, truth[second])
            row.append(explained_share(task, truth[last], outputs, prior))
        matrix.append(row)
    if picture is not None:
        drawn = draw_heatmap(
            np.array(matrix),
            list(targets),
            title=f"{examples.dataset}: what answers to one task tell of another",
            format=Path(picture).suffix,
        )
        write_atomically(Path(picture), drawn)
    return {
        "dataset": examples.dataset,
        "feature": name,
        "examples": len(kept),
        "tasks": list(targets),
        "kinds": [task.kind for task in tasks],
        "matrix": matrix,
        "picture": str(picture) if picture is not None else None,
    }


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
