"""How alike rows are: nearest neighbors, near duplicates and outliers."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Rows that are compared with all others at once: at 20,000 others, 80 MB.
_BLOCK = 1024


class Pairs(NamedTuple):
    """Pairs of rows that are nearly the same.

    Attributes:
      rows: [P, 2] positions, the smaller one first; the most alike pairs first.
      similarity: [P] their cosines.
    """

    rows: np.ndarray
    similarity: np.ndarray


class Likeness(NamedTuple):
    """How alike rows are.

    Attributes:
      pairs: Those at least as alike as asked for.
      distance: [N] distance to the k-th nearest other row, `1 - cosine`.
    """

    pairs: Pairs
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


def measure_likeness(features: ArrayLike, *, above: float, k: int = 10) -> Likeness:
    """Compares all rows with all others, by the cosine of centered rows.

    Rows of a network whose units are never negative all point one way: centered, a
    cosine of 0 means unrelated.

    Args:
      features: [N, D] floating, N at least 2.
      above: The least cosine of a near duplicate.
      k: Which neighbor an outlier is far from; fewer where there are fewer rows.

    Returns:
      Pairs and distances.
    """
    features = np.asarray(features, np.float32)
    unit = unit_rows(features - features.mean(axis=0, dtype=np.float64))
    n = len(unit)
    k = min(k, n - 1)
    found, values, distance = [], [], np.empty(n, np.float32)
    for start in range(0, n, _BLOCK):
        block = unit[start : start + _BLOCK] @ unit.T
        rows = np.arange(start, start + len(block))
        block[rows - start, rows] = -np.inf
        distance[rows] = 1 - np.partition(block, n - k, axis=1)[:, n - k]
        i, j = np.nonzero(block >= above)
        i, j = i[i + start < j], j[i + start < j]
        found.append(np.stack([i + start, j], axis=1))
        values.append(block[i, j])
    rows, similarity = np.concatenate(found), np.concatenate(values)
    order = np.argsort(-similarity, kind="stable")
    return Likeness(
        Pairs(rows[order], similarity[order].clip(-1, 1)), distance.clip(0, 2)
    )


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
