"""The linear head on top of a network that is trained: its parameters, by name.

Of a binary task the one logit is trained as two classes, half of it each way: the same
loss, and targets that may be mixed. Numbers are trained in units of their deviation.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tl_pipeline.finetuning.partition import BIAS, KERNEL


class Units(NamedTuple):
    """What is taken off the targets, and by what they are divided then, [K] each."""

    center: np.ndarray
    scale: np.ndarray


def make_head(
    kernel: np.ndarray, bias: np.ndarray, *, binary: bool, units: Units | None = None
) -> dict[str, np.ndarray]:
    """Returns the parameters of a linear head on features as they come.

    Args:
      kernel: [D, K]; of a binary task [D, 1].
      bias: [K] or [1].
      binary: Whether the task is.
      units: Of the targets; None: as they come.
    """
    if binary:
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    if units is not None:
        kernel, bias = kernel / units.scale, (bias - units.center) / units.scale
    return {KERNEL: np.asarray(kernel, np.float32), BIAS: np.asarray(bias, np.float32)}


def make_blank_head(width: int, n_outputs: int) -> dict[str, np.ndarray]:
    """Returns a head that knows nothing: classes are as likely, numbers average."""
    return {
        KERNEL: np.zeros((width, n_outputs), np.float32),
        BIAS: np.zeros(n_outputs, np.float32),
    }


def save_head(
    parameters: Mapping[str, np.ndarray], *, binary: bool, units: Units | None = None
) -> dict[str, np.ndarray]:
    """Returns the arrays of a linear head as heads are saved: `kernel` and `bias`."""
    kernel, bias = np.asarray(parameters[KERNEL]), np.asarray(parameters[BIAS])
    if binary:
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    if units is not None:
        kernel, bias = kernel * units.scale, bias * units.scale + units.center
    return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
