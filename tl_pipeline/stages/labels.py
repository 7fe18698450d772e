"""What a snapshot's examples say to a task: encoded targets, weights, who has some."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tl_pipeline.errors import DatasetError, RequestError
from tl_pipeline.examples import Examples
from tl_pipeline.tasks import (
    NO,
    YES,
    Task,
    TaskKind,
    encode_classes,
    encode_labels,
    encode_numbers,
    read_number,
)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Columns of the snapshot that have a part in a training.

    Attributes:
      target: The targets, where they are several.
      weight: The sample weights.
      slices: By whose values heads are scored apart.
    """

    target: tuple[str, ...] = ()
    weight: str | None = None
    slices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """The targets of a snapshot's N examples.

    Attributes:
      task: What a head is asked for.
      targets: As the task encodes them; -1 or NaN where one is missing.
      known: [N] bool, who has a target at all.
      weight: [N] float64 sample weights, 0 or more; None where there are none.
      reason: Why it is this task, a clause.
    """

    task: Task
    targets: np.ndarray
    known: np.ndarray
    weight: np.ndarray | None
    reason: str


def make_labels(
    examples: Examples,
    *,
    task: Literal["auto"] | TaskKind = "auto",
    targets: Sequence[str] = (),
    weight: str | None = None,
) -> Labels:
    """Encodes targets for a task.

    Args:
      examples: The snapshot.
      task: Which task; `auto` goes by the targets: yes and no in several columns are
        labels, fractions are numbers, two classes are binary, all else are classes.
      targets: Columns of the snapshot that are the targets; by default its one target.
      weight: The column of sample weights; an empty one counts 1.

    Raises:
      RequestError: There is no such column.
      DatasetError: Targets do not fit the task, or a weight is no number from 0 up.
    """
    columns = [_column(examples, name) for name in targets]
    names = tuple(targets) or ("target",)
    kind, reason = _choose_kind(examples, task, columns)
    if kind in ("multiclass", "binary"):
        texts = columns[0] if columns else examples.targets
        if len(columns) > 1:
            raise DatasetError(
                f"Asked for classes of {examples.dataset} in {len(columns)} columns "
                f"({', '.join(names)}): an example has one class, in one column. Ask "
                "for the task multilabel or regression, or for one column."
            )
        names = dataclasses.replace(examples, targets=tuple(texts)).classes
        if kind == "binary" and len(names) != 2:
            raise DatasetError(
                f"Asked for a binary task on {examples.dataset}: its targets have "
                f"{len(names)} classes ({', '.join(names[:5])}). Ask for multiclass, "
                "or bring two classes."
            )
        encoded = encode_classes(texts, names)
        known = encoded >= 0
    else:
        encode = encode_labels if kind == "multilabel" else encode_numbers
        encoded = encode(columns or [examples.targets], names, dataset=examples.dataset)
        known = np.isfinite(encoded).any(axis=1)
    weights = _read_weight(examples, weight)
    return Labels(Task(kind, names), encoded, np.asarray(known), weights, reason)


def _choose_kind(
    examples: Examples,
    asked: Literal["auto"] | TaskKind,
    columns: Sequence[Sequence[str | None]],
) -> tuple[TaskKind, str]:
    if asked != "auto":
        return asked, "as asked"
    texts = {text for column in columns for text in column}
    if not columns:
        texts = set(examples.targets)
    texts.discard(None)
    words = {str(text).strip().lower() for text in texts}
    if len(columns) > 1 and words <= YES | NO:
        return "multilabel", "its target columns hold yes and no"
    numbers = [read_number(text) for text in words]
    if words and all(map(math.isfinite, numbers)):
        if any(number % 1 for number in numbers):
            return "regression", "its targets are fractions"
        if len(columns) > 1:
            return "regression", "its target columns hold numbers"
    if len(words) == 2 and len(texts) == 2:
        return "binary", "its targets are two classes"
    return "multiclass", "its targets are classes"


def _column(examples: Examples, name: str) -> tuple[str | None, ...]:
    if name not in examples.columns:
        known = ", ".join(examples.columns) or "none"
        raise RequestError(
            f"Asked for the column {name!r} of {examples.dataset}: this snapshot has "
            f"no such column; it has {known}. Name it when you extract (`[data] "
            "target`, `weight`, `slices`), which computes nothing anew."
        )
    return examples.columns[name]


def read_slices(
    examples: Examples, names: Sequence[str]
) -> dict[str, tuple[str | None, ...]]:
    """Returns the columns that slices are by, and the groups where there are some.

    Raises:
      RequestError: There is no such column.
    """
    found = {name: _column(examples, name) for name in names}
    if any(group is not None for group in examples.groups):
        found.setdefault("group", examples.groups)
    return found


def _read_weight(examples: Examples, name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    texts = _column(examples, name)
    weights = np.array([1.0 if text is None else read_number(text) for text in texts])
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise DatasetError(
            f"Asked for sample weights in the column {name!r} of {examples.dataset}: "
            f"{examples.ids[bad[0]]} has {texts[bad[0]]!r}. A weight is a number, 0 or "
            "more; an empty one counts 1."
        )
    return weights
