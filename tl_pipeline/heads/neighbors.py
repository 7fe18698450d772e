"""The nearest rows to a row, by blocked matrix products."""

from typing import Literal, NamedTuple

import numpy as np

from tl_pipeline.errors import ConfigError, FeatureShapeError

Metric = Literal["cosine", "euclidean"]

# Distances held at once: 64 MiB of them.
_QUERIES = 512
_ROWS = 16_384


class Neighbors(NamedTuple):
    """The k nearest rows of N examples, the nearest first."""

    rows: np.ndarray  # [N, k] int64
    distances: np.ndarray  # [N, k] float64; cosine: 1 minus the cosine

    def take(self, k: int) -> "Neighbors":
        """Returns the k nearest of them."""
        return Neighbors(self.rows[:, :k], self.distances[:, :k])


def find_neighbors(
    rows: np.ndarray,
    queries: np.ndarray | None = None,
    *,
    k: int,
    metric: Metric = "cosine",
) -> Neighbors:
    """Finds the k nearest rows to each query.

    Of rows at the same distance the one of the lower index is nearer. Distances are
    float64; rows are candidates by a matrix product, so that rows whose distances
    differ by less than 1e-15 of the squared norms may change places at the k-th.

    Args:
      rows: [T, D] floating.
      queries: [N, D] floating; N may be 0. None: the rows themselves, of which none is
        its own neighbor: how k is chosen on the train split alone.
      k: At least 1; all rows where there are fewer.
      metric: `cosine`: a row of zeros is at distance 1 from all.

    Raises:
      ConfigError: `k` is below 1.
      FeatureShapeError: The rows and the queries are not of one width, or no row is
        left to be a neighbor.
    """
    leave_out = queries is None
    asked = rows if queries is None else queries
    if k < 1:
        raise ConfigError(f"Asked for {k} neighbors: one at least.")
    if rows.ndim != 2 or asked.ndim != 2 or rows.shape[1] != asked.shape[1]:
        raise FeatureShapeError(
            f"Asked for the neighbors of rows of shape {list(asked.shape)} among "
            f"{list(rows.shape)}. Pass features of the same width."
        )
    if len(rows) <= leave_out:
        raise FeatureShapeError(
            f"Asked for neighbors among {len(rows)} rows"
            f"{' of which one is left out' if leave_out else ''}: bring more rows."
        )
    k = min(k, len(rows) - leave_out)
    places = np.empty((len(asked), k), np.int64)
    distances = np.empty((len(asked), k))
    for start in range(0, len(asked), _QUERIES):
        part = slice(start, start + _QUERIES)
        own = np.arange(len(asked))[part] if leave_out else None
        places[part], distances[part] = _nearest(rows, asked[part], own, k, metric)
    return Neighbors(places, distances)


def _nearest(
    rows: np.ndarray, queries: np.ndarray, own: np.ndarray | None, k: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    exact = _unit(queries) if metric == "cosine" else queries.astype(np.float64)
    places = np.empty((len(exact), 0), np.int64)
    far = np.empty((len(exact), 0))
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        block = _unit(block) if metric == "cosine" else block.astype(np.float64)
        found = -2 * (exact @ block.T)
        if metric == "euclidean":
            found += np.einsum("td,td->t", block, block)
        if own is not None:
            here = np.flatnonzero((own >= start) & (own < start + len(block)))
            found[here, own[here] - start] = np.inf
        index = np.broadcast_to(np.arange(start, start + len(block)), found.shape)
        far = np.concatenate([far, found], axis=1)
        places = np.concatenate([places, index], axis=1)
        if far.shape[1] > k:
            chosen = _least(far, k)
            far = np.take_along_axis(far, chosen, axis=1)
            places = np.take_along_axis(places, chosen, axis=1)
    # What the product gives has lost the digits of small distances; these have not.
    distances = np.empty(places.shape)
    for column, row in enumerate(places.T):
        if metric == "cosine":
            cosine = np.einsum("nd,nd->n", exact, _unit(rows[row]))
            distances[:, column] = np.clip(1 - cosine, 0, 2)
        else:
            distances[:, column] = np.linalg.norm(exact - rows[row], axis=1)
    order = np.lexsort((places, distances), axis=1)
    return (
        np.take_along_axis(places, order, axis=1),
        np.take_along_axis(distances, order, axis=1),
    )


def _least(values: np.ndarray, k: int) -> np.ndarray:
    """Returns the places [N, k] of the k least of each row, the first of equals."""
    last = np.partition(values, k - 1, axis=1)[:, k - 1 : k]
    chosen = values < last
    equal = values == last
    wanted = k - chosen.sum(axis=1, keepdims=True)
    chosen |= equal & (equal.cumsum(axis=1) <= wanted)
    return np.nonzero(chosen)[1].reshape(len(values), k)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Returns float64 rows of length 1; zeros stay."""
    rows = rows.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)
