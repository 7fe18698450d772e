"""A run as one picture, for pages that show pictures alone."""

from pathlib import Path

import numpy as np

from tl_pipeline.reporting.heatmap import draw_heatmap
from tl_pipeline.runs.run import load_run

_MOST_CLASSES = 30  # names of more cannot be read


def draw_run(path: str | Path) -> bytes | None:
    """Draws how a run's head confuses the classes of its test examples.

    Args:
      path: The run's folder.

    Returns:
      A PNG file's bytes; None where the task has no classes, or too many for a picture.
    """
    metrics = load_run(path).metrics
    counts, classes = np.array(metrics["confusion"] or [], float), metrics["classes"]
    if not 0 < len(counts) <= _MOST_CLASSES:
        return None
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return draw_heatmap(
        shares,
        classes,
        title="Shares of each class on test",
        format=".png",
        axes=("said", "true"),
    )
