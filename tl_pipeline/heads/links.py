"""From logits to probabilities, and back."""

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.tasks import Task


def apply_link(task: Task, outputs: ArrayLike) -> np.ndarray:
    """Turns logits into probabilities; numbers stay what they are.

    Args:
      task: Its kind decides: softmax, one sigmoid, a sigmoid a label, or nothing.
      outputs: [..., K] floating, [..., 1] where the task is binary.

    Returns:
      [..., K] float64; both classes' probabilities where the task is binary.
    """
    outputs = np.asarray(outputs, np.float64)
    if task.kind == "regression":
        return outputs
    if task.kind == "multiclass":
        return softmax(outputs)
    if task.kind == "binary":
        return softmax(np.concatenate([np.zeros_like(outputs), outputs], axis=-1))
    # The larger of the two halves first: no overflow at either end.
    powers = np.exp(-np.abs(outputs))
    return np.where(outputs >= 0, 1, powers) / (1 + powers)


def softmax(logits: ArrayLike) -> np.ndarray:
    """Returns the float64 softmax over the last axis.

    Example:
      >>> softmax([[0.0, 0.0], [800.0, 0.0]]).tolist()
      [[0.5, 0.5], [1.0, 0.0]]
    """
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def invert_link(task: Task, outputs: ArrayLike) -> np.ndarray:
    """Returns logits of which `apply_link` makes these; numbers stay what they are.

    Args:
      task: Its kind decides, as there.
      outputs: [..., K] floating; probabilities of 0 and 1 are taken for all but that.

    Returns:
      [..., K] float64; [..., 1] where the task is binary.

    Example:
      >>> task = Task("binary", ("no", "yes"))
      >>> apply_link(task, invert_link(task, [[0.25, 0.75]])).round(9).tolist()
      [[0.25, 0.75]]
    """
    outputs = np.asarray(outputs, np.float64)
    if task.kind == "regression":
        return outputs
    tiny = np.finfo(np.float64).tiny
    logs = np.log(np.maximum(outputs, tiny))
    if task.kind == "multiclass":
        return logs
    if task.kind == "binary":
        return logs[..., 1:] - logs[..., :1]
    return logs - np.log(np.maximum(1 - outputs, tiny))
