"""A linear head and its preparation as one affine map of features as they come."""

import numpy as np

from tl_pipeline.errors import RequestError
from tl_pipeline.heads.head import Head

KINDS = ("linear", "ridge")  # of heads that are such maps


def flatten_head(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel [D, K] and bias [K], float64, on rows of D raw features.

    Of a binary task K is 1: the logit of the second class. The temperature is in them.

    Raises:
      RequestError: The head is not linear, or divides rows by their length.
    """
    if head.kind not in KINDS:
        raise RequestError(
            f"Asked for the linear head of a run: its head is of kind {head.kind}. "
            'Train one with kinds = ["linear"].'
        )
    steps, preparation = head.preparation.steps, head.preparation
    if steps.unit_length:
        raise RequestError(
            "Asked for the linear head of a run: it divides each row by its length, "
            "which no linear map does. Train one with unit_length = false."
        )
    kernel = head.arrays["kernel"].astype(np.float64) / head.temperature
    bias = head.arrays["bias"].astype(np.float64) / head.temperature
    if preparation.basis is not None and preparation.center is not None:
        kernel = preparation.basis.astype(np.float64) @ kernel
        bias = bias - preparation.center.astype(np.float64) @ kernel
    if preparation.standardizer is not None:
        mean, scale = preparation.standardizer
        kernel = kernel / scale.astype(np.float64)[:, None]
        bias = bias - mean.astype(np.float64) @ kernel
    if preparation.kept is not None:
        whole = np.zeros((preparation.kept.width, kernel.shape[1]))
        whole[preparation.kept.columns] = kernel
        kernel = whole
    return kernel, bias
