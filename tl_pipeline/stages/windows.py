"""The windows of a recording become one row.

A backbone computes windows, each by itself. Of the features of a recording's windows,
what is pooled by `max` is the largest, what is pooled by `last` the last window's, and
everything else the mean, in which a window counts by how much of the recording it
holds: so the mean over frames is that of all of its frames, whatever the windows are.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.spec import parse_feature


def measure_windows(windows: np.ndarray) -> np.ndarray:
    """Returns how many frames, or samples, of the recording each window holds.

    Args:
      windows: [W, T, D] or [W, T], NaN where there is nothing of the recording.

    Returns:
      [W] int64.
    """
    first = windows if windows.ndim == 2 else windows[..., 0]
    return np.count_nonzero(~np.isnan(first), axis=1)


def join_windows(
    rows: Mapping[str, np.ndarray], parts: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Joins the rows of windows into one row of each recording.

    Args:
      rows: [n, ...] float32 by feature name, a recording's windows one after another.
      parts: Of each recording, from `measure_windows`.

    Returns:
      [k, ...] float32 by feature name, k recordings.
    """
    if all(len(part) == 1 for part in parts):
        return dict(rows)
    counts = np.array([len(part) for part in parts])
    ends = np.cumsum(counts)
    starts = ends - counts
    joined = {}
    for name, values in rows.items():
        pooling = parse_feature(name).pooling
        if pooling == "last":
            joined[name] = values[ends - 1]
        elif pooling == "max":
            joined[name] = np.maximum.reduceat(values, starts, axis=0)
        else:
            joined[name] = np.stack(
                [
                    np.average(values[start:end], axis=0, weights=part)
                    for start, end, part in zip(starts, ends, parts, strict=True)
                ]
            ).astype(np.float32)
    return joined
