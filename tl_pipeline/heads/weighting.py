"""What counts in a training: targets, the weight of rows, and those held out."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.digest import bytes_digest
from tl_pipeline.errors import ConfigError, DatasetError, FeatureShapeError
from tl_pipeline.tasks import Task

# Of train, where early stopping has no validation split to look at.
HELD_OUT = 0.1


class Weighting(NamedTuple):
    """The targets of N rows and the weights [W, N] of the different sets of heads.

    Attributes:
      targets: [N] int32 where the task is multiclass; else [N, K] float32, NaN where
        missing; [N, 1] where it is binary.
      train: [W, N] float32; a set's known targets weigh 1 on the average of its rows.
      held_out: [W, N] float32; the rows kept for early stopping, or none.
      sets: [M] int32, the row of weights of each head.
      column_weight: [K] float32.
      center: [W, K] float32, what is taken off a set's targets; 0 of classes.
      scale: [W, K] float32, by what they are divided then; 1 of classes.
    """

    targets: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    sets: np.ndarray
    column_weight: np.ndarray
    center: np.ndarray
    scale: np.ndarray


def encode_targets(targets: ArrayLike, task: Task, *, n: int) -> np.ndarray:
    """Returns targets as `Weighting.targets`.

    Args:
      targets: [N] or [N, K], as the task encodes them; -1 is a missing class.
      task: Its kind and names decide.
      n: N.

    Raises:
      FeatureShapeError: The shape does not fit.
      DatasetError: A target is none of the task's.
    """
    targets = np.asarray(targets)
    wanted = (n,) if task.is_single_class else (n, task.n_outputs)
    if targets.shape != wanted:
        raise FeatureShapeError(
            f"{n} rows of features and the {task.kind} task need targets of the shape "
            f"{list(wanted)}, got {list(targets.shape)}."
        )
    if not task.is_single_class:
        targets = targets.astype(np.float32)
        bad = np.isinf(targets)
        if task.kind == "multilabel":
            bad |= (targets < 0) | (targets > 1)
        if bad.any():
            raise DatasetError(
                f"Asked for a {task.kind} head, found the target {targets[bad][0]}. "
                "Labels are 0 or 1, numbers finite; NaN is one that is missing."
            )
        return targets
    if targets.dtype.kind not in "iu":
        raise DatasetError(
            f"Targets are class indices, got {targets.dtype.name}. "
            "Number the classes from 0."
        )
    if n and (targets.min() < -1 or targets.max() >= task.n_outputs):
        raise DatasetError(
            f"Asked for heads of {task.n_outputs} classes, found targets from "
            f"{targets.min()} to {targets.max()}. Number the classes from 0; -1 is one "
            "that is missing."
        )
    if task.kind == "multiclass":
        return targets.astype(np.int32)
    return np.where(targets < 0, np.nan, targets).astype(np.float32)[:, None]


def weigh(
    targets: ArrayLike,
    task: Task,
    *,
    n_heads: int,
    n_rows: int,
    sample_weight: ArrayLike | None = None,
    class_weight: ArrayLike | Literal["balanced"] | None = None,
    holds_out: bool = False,
    groups: Sequence[str] | None = None,
) -> Weighting:
    """Encodes targets and weighs them.

    Args:
      targets: [N] or [N, K], as the task encodes them.
      task: What is asked for.
      n_heads: M.
      n_rows: The rows of an epoch; N unless features come in minibatches.
      sample_weight: [N] or [M, N], at least 0.
      class_weight: [K], of classes or labels; `balanced`: every class weighs the same.
      holds_out: Whether to hold out a tenth of each set.
      groups: [N] names of what is held out together; by default each row alone.

    Raises:
      FeatureShapeError: The targets do not fit the rows.
      DatasetError: A target is none of the task's, or a set has too few.
      ConfigError: Weights that are not usable.
    """
    encoded = encode_targets(targets, task, n=len(np.asarray(targets)))
    n = len(encoded)
    weights, sets = _sets_of(sample_weight, n_heads, n)
    known = encoded >= 0 if encoded.ndim == 1 else ~np.isnan(encoded)
    known = known.reshape(n, -1)
    weights = weights * known.any(axis=1)
    column_weight = np.ones(known.shape[1], np.float64)
    if class_weight is not None:
        weights, column_weight = _by_class(weights, encoded, task, class_weight)
    held_out = np.zeros_like(weights)
    if holds_out:
        share = _shares_of(groups, n)
        for row, held in zip(weights, held_out, strict=True):
            _hold_out(row, held, share)
    if not (weights > 0).any(axis=1).all():
        raise DatasetError(
            "Asked to train a head on examples of which none has a weight above 0 and "
            "a target. Add labeled examples."
        )
    center, scale = _centers(weights, encoded, task)
    # So a minibatch's mean is the set's on the average, whatever the weights add up to.
    mass = weights @ (known * column_weight).sum(axis=1)
    weights = weights * (n_rows / mass)[:, None]
    return Weighting(
        encoded,
        weights.astype(np.float32),
        held_out.astype(np.float32),
        sets,
        column_weight.astype(np.float32),
        center.astype(np.float32),
        scale.astype(np.float32),
    )


def _sets_of(
    sample_weight: ArrayLike | None, m: int, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the different rows of weights [W, N] and whose they are [M]."""
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, float)
    if weights.shape == (n,):
        weights = weights[None]
    elif weights.shape != (m, n):
        raise ConfigError(
            f"{m} heads on {n} examples take sample weights of shape [{n}] or "
            f"[{m}, {n}], got {list(weights.shape)}."
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ConfigError(
            "Sample weights must be finite and at least 0, found "
            f"{weights.min()} to {weights.max()}. Use 0 to leave an example out."
        )
    places: dict[bytes, int] = {}
    rows = [places.setdefault(row.tobytes(), len(places)) for row in weights]
    _, firsts = np.unique(rows, return_index=True)
    return weights[firsts], np.broadcast_to(np.asarray(rows, np.int32), m).copy()


def _by_class(
    weights: np.ndarray,
    encoded: np.ndarray,
    task: Task,
    class_weight: ArrayLike | Literal["balanced"],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the weights of rows with those of their classes, and of columns."""
    is_balanced = isinstance(class_weight, str) and class_weight == "balanced"
    if task.kind == "regression" or (is_balanced and not task.is_single_class):
        raise ConfigError(
            f"Asked for class weights {class_weight!r} of a {task.kind} task. Give "
            "sample weights instead, or a number for each label."
        )
    columns = encoded.shape[1] if encoded.ndim == 2 else 1
    if is_balanced:
        classes = np.nan_to_num(encoded.reshape(len(encoded)), nan=0).astype(np.int64)
        classes = classes.clip(0)
        mass = np.stack([np.bincount(classes, row, task.n_outputs) for row in weights])
        present = (mass > 0).sum(axis=1, keepdims=True)
        each = mass.sum(axis=1, keepdims=True) / np.maximum(present, 1)
        factor = np.where(mass > 0, each / np.where(mass > 0, mass, 1), 0)
        return weights * factor[:, classes], np.ones(columns)
    given = np.asarray(class_weight, np.float64)
    usable = given.shape == (task.n_outputs,) and np.isfinite(given).all()
    if not usable or (given < 0).any():
        raise ConfigError(
            f"Asked for class weights {class_weight!r} of {task.n_outputs} classes: "
            "give one finite number of at least 0 for each, or 'balanced'."
        )
    if not task.is_single_class:
        return weights, given
    classes = np.nan_to_num(encoded.reshape(len(encoded)), nan=0).astype(np.int64)
    return weights * given[classes.clip(0)], np.ones(columns)


def _shares_of(groups: Sequence[str] | None, n: int) -> np.ndarray:
    """Returns [N] in [0, 1): by digest, so that a new row moves no other one."""
    names = range(n) if groups is None else groups
    if len(names) != n:
        raise ConfigError(f"{n} examples need as many groups, got {len(names)}.")
    share = {
        name: int(bytes_digest(str(name).encode())[:8], 16) / 2**32
        for name in set(names)
    }
    return np.array([share[name] for name in names])


def _hold_out(row: np.ndarray, held: np.ndarray, share: np.ndarray) -> None:
    """Moves a tenth of a set's weights, or its first group, to those held out."""
    used = np.flatnonzero(row > 0)
    if not len(used):
        return
    first = share[used].min()
    moved = used[share[used] <= max(HELD_OUT, first)]
    if len(moved) == len(used):
        raise DatasetError(
            f"Asked to stop early by a part of {len(used)} training examples, which "
            "leaves none to train on. Give validation examples, or patience = None."
        )
    held[moved] = row[moved]
    row[moved] = 0


def _centers(
    weights: np.ndarray, encoded: np.ndarray, task: Task
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean and deviation [W, K] of each set's known numbers."""
    columns = task.n_outputs if encoded.ndim == 1 else encoded.shape[1]
    zeros, ones = np.zeros((len(weights), columns)), np.ones((len(weights), columns))
    if task.kind != "regression":
        return zeros, ones
    known = ~np.isnan(encoded)
    numbers = np.where(known, encoded, 0).astype(np.float64)
    mass = weights @ known
    mass = np.where(mass > 0, mass, 1)
    mean = weights @ numbers / mass
    deviations = np.stack(
        [
            row @ (np.square(numbers - center) * known)
            for row, center in zip(weights, mean, strict=True)
        ]
    )
    spread = np.sqrt(deviations / mass)
    return mean, np.where(spread > 1e-6 * np.abs(mean), spread, 1)
