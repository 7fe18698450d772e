"""What a head is asked for: classes, labels or numbers, and how targets encode them."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import DatasetError

TaskKind = Literal["multiclass", "binary", "multilabel", "regression"]
TASK_KINDS: tuple[TaskKind, ...] = get_args(TaskKind)

# What training by gradients makes smaller: the cross-entropy of classes, that of each
# label apart, or the squared error.
Loss = Literal["softmax", "sigmoid", "squared"]
LOSSES: dict[TaskKind, Loss] = {
    "multiclass": "softmax",
    "binary": "sigmoid",
    "multilabel": "sigmoid",
    "regression": "squared",
}

# What a table may write for a label that applies or does not.
YES = frozenset({"1", "1.0", "true", "yes"})
NO = frozenset({"0", "0.0", "false", "no"})


@dataclasses.dataclass(frozen=True)
class Task:
    """What a head is asked for.

    How targets are encoded and what a head gives for N examples:

    | kind         | targets                     | a head gives                    |
    |--------------|-----------------------------|---------------------------------|
    | `multiclass` | [N] int64 class indices     | [N, K] shares that add up to 1  |
    | `binary`     | [N] int64, 0 or 1           | [N, 2] likewise, from one logit |
    | `multilabel` | [N, K] float32, 0 or 1; NaN | [N, K] probabilities in [0, 1]  |
    | `regression` | [N, K] float32; NaN         | [N, K] numbers                  |

    NaN is a target that is missing, which neither fit nor score counts.

    Attributes:
      kind: One of `TASK_KINDS`.
      names: The K classes, labels or target columns. Of `binary` the second class is
        the positive one, whose probability the one logit is.
    """

    kind: TaskKind
    names: tuple[str, ...]

    @property
    def is_single_class(self) -> bool:
        """Whether each example has exactly one class."""
        return self.kind in ("multiclass", "binary")

    @property
    def n_outputs(self) -> int:
        """The columns of what a head gives: K."""
        return len(self.names)


def decide(task: Task, outputs: np.ndarray, thresholds: ArrayLike = ()) -> np.ndarray:
    """Returns what follows from what a head gives.

    Args:
      task: What was asked.
      outputs: [..., K] floating.
      thresholds: What a probability must exceed to be a yes: [1] of the second class of
        `binary`, [K] of `multilabel`; none: 0.5. Classes and numbers have none.

    Returns:
      [...] int64, the likeliest class, the first of equals; [..., K] bool, whether a
      label applies; [..., K], the numbers themselves.

    Example:
      >>> decide(Task("binary", ("no", "yes")), np.array([[0.7, 0.3]]), [0.2])
      array([1])
    """
    least = np.asarray(thresholds, np.float64)
    if task.kind == "regression":
        return outputs
    if task.kind == "multilabel":
        return outputs > (least if least.size else 0.5)
    if not least.size:
        return outputs.argmax(axis=-1)
    return (outputs[..., 1] > least.item()).astype(np.int64)


def encode_classes(targets: Sequence[str | None], classes: Sequence[str]) -> np.ndarray:
    """Returns [N] int64 class indices; -1 where an example is unlabeled.

    Example:
      >>> encode_classes(["bee", None, "ant"], ("ant", "bee")).tolist()
      [1, -1, 0]
    """
    index: dict[str | None, int] = {name: i for i, name in enumerate(classes)}
    index[None] = -1
    return np.array([index[target] for target in targets], np.int64)


def encode_labels(
    columns: Sequence[Sequence[str | None]], names: Sequence[str], *, dataset: str
) -> np.ndarray:
    """Returns [N, K] float32: 1 where a label applies, 0 where not, NaN where unknown.

    Args:
      columns: K columns of N texts.
      names: Their names.
      dataset: For the message.

    Raises:
      DatasetError: A text is neither yes nor no.

    Example:
      >>> encode_labels([["1", "no"], [None, "TRUE"]], ("a", "b"), dataset="d").tolist()
      [[1.0, nan], [0.0, 1.0]]
    """
    encoded = np.full((len(columns[0]), len(columns)), np.nan, np.float32)
    for k, column in enumerate(columns):
        for row, text in enumerate(column):
            if text is None:
                continue
            word = text.strip().lower()
            if word not in YES | NO:
                raise DatasetError(
                    f"Asked for the label {names[k]!r} of {dataset}, found {text!r}: a "
                    "label is 1 or 0, yes or no, true or false, or empty where it is "
                    "not known. For classes name one target column alone."
                )
            encoded[row, k] = word in YES
    return encoded


def encode_numbers(
    columns: Sequence[Sequence[str | None]], names: Sequence[str], *, dataset: str
) -> np.ndarray:
    """Returns [N, K] float32 numbers; NaN where one is missing.

    Args:
      columns: K columns of N texts.
      names: Their names.
      dataset: For the message.

    Raises:
      DatasetError: A text is no finite number.

    Example:
      >>> encode_numbers([["1.5", None]], ("length",), dataset="d").tolist()
      [[1.5], [nan]]
    """
    encoded = np.full((len(columns[0]), len(columns)), np.nan, np.float32)
    for k, column in enumerate(columns):
        for row, text in enumerate(column):
            if text is None:
                continue
            with np.errstate(over="ignore"):
                encoded[row, k] = np.float32(read_number(text))
            if not np.isfinite(encoded[row, k]):
                raise DatasetError(
                    f"Asked for numbers in the target {names[k]!r} of {dataset}, found "
                    f"{text!r}. Bring finite numbers, leave it empty where one is "
                    "missing, or ask for another task."
                )
    return encoded


def read_number(text: str) -> float:
    """Returns the number that a text is; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
