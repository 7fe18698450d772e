"""How alike rows are: nearest neighbors, near duplicates and outliers."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Rows that are compared with all others at once: at 20,000 others, 80 MB.
_BLOCK = 1024


# Pairs that are kept, of what may be half the square of the rows.
MOST_PAIRS = 1000


class Pairs(NamedTuple):
    """Pairs of rows that are nearly the same.

    Attributes:
      n: How many there are.
      rows: [P, 2] positions, the smaller one first, of the `MOST_PAIRS` most alike.
      similarity: [P] their cosines, the highest first.
    """

    n: int
    rows: np.ndarray
    similarity: np.ndarray


class Likeness(NamedTuple):
    """How alike rows are.

    Attributes:
      pairs: Those at least as alike as asked for.
      across: Those of them that lie in two splits: what leaks from one to the other.
      involved: [N] whether a row is in any pair.
      distance: [N] distance to the k-th nearest other row, `1 - cosine`.
    """

    pairs: Pairs
    across: Pairs
    involved: np.ndarray
    distance: np.ndarray


def nearest_rows(
    query: ArrayLike, blocks: Iterable[np.ndarray], *, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the rows of highest cosine with one row, whatever number there is.

    Args:
      query: [D] floating.
      blocks: The rows, [n, D] floating at a time.
      k: How many to find.

    Returns:
      [k] positions over all blocks, the nearest first (of equals the first), and their
      [k] cosines; fewer where there are fewer rows. A row of zeros is like no other.
    """
    direction = unit_rows(np.asarray(query)[None])[0]
    places, similarity = np.empty(0, np.int64), np.empty(0, np.float32)
    start = 0
    for block in blocks:
        here = unit_rows(block) @ direction
        places = np.concatenate([places, start + np.arange(len(here))])
        similarity = np.concatenate([similarity, here])
        best = np.argsort(-similarity, kind="stable")[:k]
        places, similarity = places[best], similarity[best]
        start += len(here)
    return places, similarity.clip(-1, 1)


def measure_likeness(
    features: ArrayLike, splits: ArrayLike, *, above: float, k: int = 10
) -> Likeness:
    """Compares all rows with all others, by the cosine of centered rows.

    Rows of a network whose units are never negative all point one way: centered, a
    cosine of 0 means unrelated.

    Args:
      features: [N, D] floating, N at least 2.
      splits: [N] names or numbers.
      above: The least cosine of a near duplicate.
      k: Which neighbor an outlier is far from; fewer where there are fewer rows.

    Returns:
      Pairs and distances.
    """
    features, splits = np.asarray(features, np.float32), np.asarray(splits)
    unit = unit_rows(features - features.mean(axis=0, dtype=np.float64))
    n = len(unit)
    k = min(k, n - 1)
    distance, involved = np.empty(n, np.float32), np.zeros(n, bool)
    pairs = across = Pairs(0, np.empty((0, 2), np.int64), np.empty(0, np.float32))
    for start in range(0, n, _BLOCK):
        cosines = unit[start : start + _BLOCK] @ unit.T
        rows = np.arange(start, start + len(cosines))
        cosines[rows - start, rows] = -np.inf
        distance[rows] = 1 - np.partition(cosines, n - k, axis=1)[:, n - k]
        alike = cosines >= above
        involved[rows] = alike.any(axis=1)
        alike &= rows[:, None] < np.arange(n)  # each pair once
        pairs = _add(pairs, cosines, alike, start)
        alike &= splits[rows][:, None] != splits
        across = _add(across, cosines, alike, start)
    return Likeness(pairs, across, involved, distance.clip(0, 2))


def find_equal_rows(features: ArrayLike) -> list[list[int]]:
    """Finds rows that are equal to the last bit, as groups of two or more.

    Example:
      >>> find_equal_rows([[1.0], [2.0], [1.0]])
      [[0, 2]]
    """
    features = np.ascontiguousarray(features)
    groups: dict[bytes, list[int]] = {}
    for place, row in enumerate(features):
        groups.setdefault(row.tobytes(), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def find_outliers(distance: np.ndarray) -> np.ndarray:
    """Finds rows much farther from their neighbors than is usual, farthest first.

    Beyond the upper quartile by three times the distance between the quartiles.

    Args:
      distance: [N], from `measure_likeness`.

    Returns:
      Positions.

    Reference:
      "Far out" in J. W. Tukey, "Exploratory Data Analysis", 1977, section 2D; the
      distance to the k-th neighbor as a measure: S. Ramaswamy et al., "Efficient
      Algorithms for Mining Outliers from Large Data Sets", SIGMOD 2000.
    """
    low, high = np.quantile(distance, (0.25, 0.75))
    far = np.flatnonzero(distance > high + 3 * (high - low))
    return far[np.argsort(-distance[far], kind="stable")]


def unit_rows(rows: ArrayLike) -> np.ndarray:
    """Scales rows [N, D] to length 1, in float32; a row of zeros stays."""
    rows = np.asarray(rows, np.float32)
    # Scaled first, so that no square of a float32 overflows or vanishes.
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    rows = rows / np.where(largest > 0, largest, 1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def _add(pairs: Pairs, cosines: np.ndarray, alike: np.ndarray, start: int) -> Pairs:
    """Adds a block's pairs, and keeps the most alike of all."""
    i, j = np.nonzero(alike)
    similarity = np.concatenate([pairs.similarity, cosines[i, j].clip(-1, 1)])
    rows = np.concatenate([pairs.rows, np.stack([i + start, j], axis=1)])
    best = np.argsort(-similarity, kind="stable")[:MOST_PAIRS]
    return Pairs(pairs.n + len(i), rows[best], similarity[best])
