"""k nearest neighbors: nothing is trained, the rows themselves are the head."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from tl_pipeline.errors import ConfigError
from tl_pipeline.heads.neighbors import Neighbors, find_neighbors
from tl_pipeline.tasks import TaskKind

Weighting = Literal["uniform", "distance", "similarity"]
WEIGHTINGS: tuple[Weighting, ...] = get_args(Weighting)

# A class that no neighbor has gets this share: logits are finite, and shares are as
# they were to twelve digits. Calibrate before a log loss of it is believed.
LEAST_SHARE = 1e-12


def predict_from_neighbors(
    neighbors: Neighbors,
    targets: np.ndarray,
    *,
    kind: TaskKind,
    n_outputs: int,
    weighting: Weighting = "similarity",
    temperature: float = 0.07,
    sample_weight: np.ndarray | None = None,
) -> np.ndarray:
    """Returns what the neighbors say: [N, K] float64, as `Task` describes it.

    Several k come from one search: pass `neighbors.take(k)`.

    Args:
      neighbors: From `find_neighbors`.
      targets: Of the T rows, as `Task` encodes them; a target that is NaN has no vote,
        and where no neighbor has one, the mean over all rows stands for it.
      kind: What is asked for.
      n_outputs: K; 2 where the task is binary.
      weighting: What a neighbor's vote counts. `uniform`: the same; `distance`: one
        over its distance, and those at distance 0 alone where there are such, as
        scikit-learn's; `similarity`: exp(-distance / temperature), which for the cosine
        is DINO's exp(cosine / temperature).
      temperature: Above 0.
      sample_weight: [T], which multiplies the votes.

    Raises:
      ConfigError: The weighting or the temperature cannot be used.

    Reference:
      Caron et al., Emerging Properties in Self-Supervised Vision Transformers, ICCV
      2021: weighted k-NN with temperature 0.07, https://arxiv.org/abs/2104.14294
    """
    votes = _votes(neighbors.distances, weighting, temperature)
    if sample_weight is not None:
        votes = votes * sample_weight[neighbors.rows]
    if kind in ("multiclass", "binary"):
        of_neighbors = targets[neighbors.rows]
        found = np.zeros((len(votes), n_outputs))
        own = np.arange(len(votes))
        for column in range(votes.shape[1]):
            found[own, of_neighbors[:, column]] += votes[:, column]
        total = found.sum(axis=1, keepdims=True)
        share = np.bincount(targets, sample_weight, n_outputs)
        return _divide(found, total, share / share.sum())
    found = np.zeros((len(votes), n_outputs))
    total = np.zeros_like(found)
    for column in range(votes.shape[1]):
        values = targets[neighbors.rows[:, column]].astype(np.float64)
        known = np.isfinite(values)
        vote = votes[:, column, None]
        found += vote * np.where(known, values, 0)
        total += vote * known
    known = np.isfinite(targets)
    weights = known * (1.0 if sample_weight is None else sample_weight[:, None])
    mean = (weights * np.where(known, targets, 0)).sum(axis=0)
    return _divide(found, total, mean / np.maximum(weights.sum(axis=0), 1e-300))


def knn_outputs(
    arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any], rows: np.ndarray
) -> np.ndarray:
    """Returns logits or numbers of N prepared rows.

    Args:
      arrays: `rows` [T, D] float16 or float32 and `targets`; `weights` [T] if any.
      settings: `k`, `metric`, `weighting`, `temperature`; `task`, a kind of task, and
        `n_outputs`.
      rows: [N, D].
    """
    found = predict_from_neighbors(
        find_neighbors(
            arrays["rows"], rows, k=settings["k"], metric=settings["metric"]
        ),
        arrays["targets"],
        kind=settings["task"],
        n_outputs=settings["n_outputs"],
        weighting=settings["weighting"],
        temperature=settings["temperature"],
        sample_weight=arrays.get("weights"),
    )
    if settings["task"] == "regression":
        return found
    logs = np.log(np.maximum(found, LEAST_SHARE))
    if settings["task"] == "multiclass":
        return logs
    if settings["task"] == "binary":
        return np.diff(logs, axis=1)
    return logs - np.log(np.maximum(1 - found, LEAST_SHARE))


def _votes(
    distances: np.ndarray, weighting: Weighting, temperature: float
) -> np.ndarray:
    if weighting not in WEIGHTINGS:
        raise ConfigError(
            f"Asked for neighbors weighted by {weighting!r}; known are "
            f"{', '.join(WEIGHTINGS)}."
        )
    if not temperature > 0:
        raise ConfigError(f"Asked for the temperature {temperature}: above 0, please.")
    if weighting == "uniform":
        return np.ones_like(distances)
    if weighting == "similarity":  # relative to the nearest, whose vote is 1
        return np.exp((distances[:, :1] - distances) / temperature)
    same = distances == 0
    inverse = 1 / np.where(same, 1, distances)
    return np.where(same.any(axis=1, keepdims=True), same, inverse)


def _divide(found: np.ndarray, total: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    return np.where(total > 0, found / np.where(total > 0, total, 1), otherwise)
