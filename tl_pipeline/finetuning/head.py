"""The linear head on top of a network that is trained: its parameters, by name.

Of a binary task the one logit is trained as two classes, half of it each way: the same
loss, and targets that may be mixed.
"""

from collections.abc import Mapping

import numpy as np

from tl_pipeline.finetuning.partition import BIAS, KERNEL


def make_head(kernel: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the parameters of a linear head on features as they come.

    Args:
      kernel: [D, K]; of a binary task [D, 1].
      bias: [K] or [1].
    """
    if kernel.shape[1] == 1:
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    return {KERNEL: np.asarray(kernel, np.float32), BIAS: np.asarray(bias, np.float32)}


def make_blank_head(width: int, n_classes: int) -> dict[str, np.ndarray]:
    """Returns a head that knows nothing: every class is as likely."""
    return {
        KERNEL: np.zeros((width, n_classes), np.float32),
        BIAS: np.zeros(n_classes, np.float32),
    }


def save_head(
    parameters: Mapping[str, np.ndarray], *, binary: bool
) -> dict[str, np.ndarray]:
    """Returns the arrays of a linear head as heads are saved: `kernel` and `bias`."""
    kernel, bias = np.asarray(parameters[KERNEL]), np.asarray(parameters[BIAS])
    if binary:
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    return {"kernel": kernel, "bias": bias}
