"""What each kind of head makes of prepared rows, in plain NumPy.

A kind is a function of the head's arrays, its settings and N prepared rows; it gives
[N, K] float64 logits, or numbers where the task is regression; [N, 1] where the task is
binary. Sums are float64, so that an example's outputs do not change with its batch by
more than 1e-15, relatively.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tl_pipeline.heads.knn import knn_outputs

Arrays = Mapping[str, np.ndarray]
Settings = Mapping[str, Any]


def linear_outputs(arrays: Arrays, settings: Settings, rows: np.ndarray) -> np.ndarray:
    """Returns `rows @ kernel + bias`: kernel [R, K], bias [K], rows [N, R]."""
    del settings
    return (
        rows.astype(np.float64) @ arrays["kernel"].astype(np.float64) + arrays["bias"]
    )


# By kind: what it gives, and the arrays that it needs.
KINDS: Mapping[
    str, tuple[Callable[[Arrays, Settings, np.ndarray], np.ndarray], tuple[str, ...]]
] = {
    "linear": (linear_outputs, ("kernel", "bias")),
    "ridge": (linear_outputs, ("kernel", "bias")),
    "knn": (knn_outputs, ("rows", "targets")),
}
