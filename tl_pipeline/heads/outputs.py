"""What each kind of head makes of prepared rows, in plain NumPy.

A kind is a function of the head's arrays, its settings and N prepared rows; it gives
[N, K] float64 logits, or numbers where the task is regression; [N, 1] where the task is
binary. Sums are float64, so that an example's outputs do not change with its batch by
more than 1e-15, relatively.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tl_pipeline.heads.centroid import centroid_outputs
from tl_pipeline.heads.knn import knn_outputs

Arrays = Mapping[str, np.ndarray]
Settings = Mapping[str, Any]


def linear_outputs(arrays: Arrays, settings: Settings, rows: np.ndarray) -> np.ndarray:
    """Returns `rows @ kernel + bias`: kernel [R, K], bias [K], rows [N, R]."""
    del settings
    return (
        rows.astype(np.float64) @ arrays["kernel"].astype(np.float64) + arrays["bias"]
    )


def mlp_outputs(arrays: Arrays, settings: Settings, rows: np.ndarray) -> np.ndarray:
    """Returns what dense layers give: `kernel_i` [in, out] and `bias_i`, i from 0.

    Between two layers is `settings["activation"]`; rows [N, ...] are flattened.
    """
    units = rows.reshape(len(rows), math.prod(rows.shape[1:])).astype(np.float64)
    last = sum(name.startswith("kernel_") for name in arrays) - 1
    for i in range(last + 1):
        units = units @ arrays[f"kernel_{i}"].astype(np.float64) + arrays[f"bias_{i}"]
        if i < last:
            units = _activated(units, settings["activation"])
    return units


def attention_outputs(
    arrays: Arrays, settings: Settings, rows: np.ndarray
) -> np.ndarray:
    """Returns what dense layers give of tokens that were pooled by attention.

    Each query of `query` [Q, D] averages the tokens [N, ..., D] by the softmax of its
    products with them, divided by the root of D; the Q averages are joined.
    """
    query = arrays["query"].astype(np.float64)
    tokens = rows.reshape(len(rows), math.prod(rows.shape[1:-1]), rows.shape[-1])
    tokens = tokens.astype(np.float64)
    scores = query @ tokens.swapaxes(1, 2) / math.sqrt(query.shape[1])  # [N, Q, T]
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return mlp_outputs(arrays, settings, shares @ tokens)


def _activated(units: np.ndarray, activation: str) -> np.ndarray:
    if activation == "relu":
        return np.maximum(units, 0)
    inner = math.sqrt(2 / math.pi) * (units + 0.044715 * units**3)
    return units / 2 * (1 + np.tanh(inner))


# By kind: what it gives, and the arrays that it needs.
KINDS: Mapping[
    str, tuple[Callable[[Arrays, Settings, np.ndarray], np.ndarray], tuple[str, ...]]
] = {
    "linear": (linear_outputs, ("kernel", "bias")),
    "ridge": (linear_outputs, ("kernel", "bias")),
    "knn": (knn_outputs, ("rows", "targets")),
    "centroid": (centroid_outputs, ("centroid", "bias")),
    "mlp": (mlp_outputs, ("kernel_0", "bias_0")),
    "attention": (attention_outputs, ("query", "kernel_0", "bias_0")),
}
