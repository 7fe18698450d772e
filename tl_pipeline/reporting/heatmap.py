"""A square matrix as a picture: numbers in cells, shaded by size."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

FORMATS = (".png", ".svg")


def draw_heatmap(
    matrix: np.ndarray,
    names: Sequence[str],
    *,
    title: str,
    format: str,
    axes: tuple[str, str] = ("asked", "answers given"),
) -> bytes:
    """Draws how much each row tells of each column; the same bytes each time.

    Args:
      matrix: [K, K] floating; shades go from 0 to 1.
      names: K names.
      title: What is shown.
      format: One of `FORMATS`.
      axes: What stands below columns, and beside rows.

    Returns:
      A PNG or SVG file's bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"svg.hashsalt": "tl_pipeline", "svg.fonttype": "none"}
    with matplotlib.rc_context(style):
        side = 2.5 + 0.7 * len(names)
        figure = Figure(figsize=(side, side), dpi=150)
        plot = figure.add_subplot()
        plot.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
        plot.set_xticks(range(len(names)), names, rotation=45, ha="right")
        plot.set_yticks(range(len(names)), names)
        plot.set_xlabel(axes[0])
        plot.set_ylabel(axes[1])
        plot.set_title(title, fontsize=9)
        for (i, j), value in np.ndenumerate(matrix):
            color = "white" if value > 0.6 else "black"
            plot.text(j, i, f"{value:.2f}", ha="center", va="center", color=color)
        buffer = io.BytesIO()
        figure.savefig(
            buffer,
            format=format.removeprefix("."),
            bbox_inches="tight",
            facecolor="white",
            metadata={"Date": None} if format == ".svg" else {"Software": None},
        )
    return buffer.getvalue()
