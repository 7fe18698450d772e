"""What is scored: targets and outputs of a task, checked to fit each other."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError
from tl_pipeline.tasks import Task, decide

# Rows of float16 probabilities add up to 1 this closely.
_SUM_TOLERANCE = 5e-3


class Scored(NamedTuple):
    """Checked targets and outputs, with the predictions that follow.

    Attributes:
      task: What was asked.
      targets: [N] int64 classes, or [N, K] float64 with NaN where one is missing.
      outputs: [N, K] float64. Rows of class probabilities add up to about 1.
      predictions: [N] int64, the likeliest class, the first of equals; [N, K] bool,
        whether a label is predicted; [N, K] float64, the numbers themselves.
    """

    task: Task
    targets: np.ndarray
    outputs: np.ndarray
    predictions: np.ndarray


def check_scored(
    targets: ArrayLike,
    outputs: ArrayLike,
    *,
    task: Task | None = None,
    thresholds: ArrayLike = (),
) -> Scored:
    """Checks that targets and outputs can be scored together, and decides.

    Args:
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      task: What was asked; without it, as many classes as `outputs` has columns.
      thresholds: What a probability must exceed to be a yes: one number for `binary`,
        [K] for `multilabel`; none: 0.5. Classes and numbers have none.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.
    """
    shares = np.asarray(outputs, np.float64)
    if task is None:
        names = shares.shape[1] if shares.ndim == 2 else 0
        task = Task("multiclass", tuple(map(str, range(names))))
    if not task.is_single_class:
        return _check_columns(task, np.asarray(targets, np.float64), shares, thresholds)
    truth = np.asarray(targets)
    _check_classes(truth, shares, task)
    guess = decide(task, shares, _as_thresholds(task, thresholds))
    return Scored(task, truth.astype(np.int64), shares, guess)


def normalize_rows(shares: np.ndarray) -> np.ndarray:
    """Makes rows add up to 1 to the last digit, which scikit-learn's losses ask for.

    float32 rows do so within 1e-7. Not for ranking: it parts what is equal.
    """
    return shares / shares.sum(axis=1, keepdims=True)


def _check_classes(truth: np.ndarray, shares: np.ndarray, task: Task) -> None:
    shapes = f"targets of shape {list(truth.shape)}, probabilities {list(shares.shape)}"
    if shares.ndim != 2 or truth.shape != shares.shape[:1] or shares.shape[1] < 2:
        raise DatasetError(
            f"Asked to score {shapes}: they must be [N] and [N, K] with K of at least "
            "2. Pass one class index and one row of probabilities an example."
        )
    if shares.shape[1] != task.n_outputs:
        raise DatasetError(
            f"Asked to score {shapes} for the {task.n_outputs} classes of the task. "
            "Score a head by the classes it was trained on."
        )
    _check_any(len(truth))
    if truth.min() < 0 or truth.max() >= shares.shape[1]:
        raise DatasetError(
            f"Asked to score targets from {truth.min()} to {truth.max()} by the "
            f"probabilities of {shares.shape[1]} classes. Leave out examples of "
            "classes that the head does not know."
        )
    _check_finite(shares, "probabilities")
    off = np.abs(shares.sum(axis=1) - 1)
    if off.max() > _SUM_TOLERANCE or shares.min() < 0:
        raise DatasetError(
            "Asked to score rows as probabilities of classes, found the smallest "
            f"{shares.min():g} and a row that adds up to "
            f"{shares.sum(axis=1)[off.argmax()]:g}. Pass rows of at least 0 that add "
            "up to 1, not logits."
        )


def _check_columns(
    task: Task, truth: np.ndarray, outputs: np.ndarray, thresholds: ArrayLike
) -> Scored:
    if truth.shape != outputs.shape or truth.shape[1:] != (task.n_outputs,):
        raise DatasetError(
            f"Asked to score targets of shape {list(truth.shape)} and outputs of shape "
            f"{list(outputs.shape)} for {task.n_outputs} columns ({task.kind}): both "
            f"must be [N, {task.n_outputs}]. Pass one row an example."
        )
    _check_any(int((~np.isnan(truth)).sum()))
    _check_finite(outputs, "outputs")
    if task.kind == "regression":
        if np.isinf(truth).any():
            raise DatasetError(
                "Asked to score numbers, found a target that is infinite. Bring finite "
                "numbers, or NaN where one is missing."
            )
        _as_thresholds(task, thresholds)
        return Scored(task, truth, outputs, outputs)
    odd = truth[~np.isnan(truth) & (truth != 0) & (truth != 1)]
    if odd.size or outputs.min() < 0 or outputs.max() > 1:
        found = f"the target {odd[0]:g}" if odd.size else "outputs beyond 0 and 1"
        raise DatasetError(
            f"Asked to score labels, found {found}. Targets are 0, 1 or NaN, and "
            "outputs probabilities."
        )
    guess = decide(task, outputs, _as_thresholds(task, thresholds))
    return Scored(task, truth, outputs, guess)


def _as_thresholds(task: Task, thresholds: ArrayLike) -> np.ndarray:
    wanted = {"binary": 1, "multilabel": task.n_outputs}.get(task.kind, 0)
    found = np.asarray(thresholds, np.float64).reshape(-1)
    if len(found) not in (0, wanted):
        raise DatasetError(
            f"Asked to decide by {len(found)} thresholds, where a {task.kind} task of "
            f"{task.n_outputs} outputs has {wanted}. Fit them on the same task."
        )
    return found


def _check_any(n: int) -> None:
    if not n:
        raise DatasetError(
            "Asked to score a split without labeled examples. Label some, or choose "
            "other split sizes."
        )


def _check_finite(outputs: np.ndarray, what: str) -> None:
    if not np.isfinite(outputs).all():
        rows = int((~np.isfinite(outputs).all(axis=1)).sum())
        raise DatasetError(
            f"Asked to score {len(outputs)} rows of {what}, of which {rows} are "
            "not finite. Leave those examples out."
        )
