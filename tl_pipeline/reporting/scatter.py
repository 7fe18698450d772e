"""Scatter plots, by matplotlib: legible with two classes and with a hundred.

Text from elsewhere is shown as it is: never taken for a formula, nor for an order to
the terminal.
"""

import io
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_pipeline.reporting.tables import escape_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg")
# After P. Tol, "Colour Schemes", 2021: "bright", without the gray that is for examples
# without a label, then those of "vibrant" and "muted" that stay apart from it.
_COLORS = (
    *("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"),
    *("#ee7733", "#332288", "#7a4a21", "#55ddaa"),
)
_MARKERS = (
    "os^DvPX<>*"  # with ten colors: a hundred classes before any looks like another
)
_THIN = {"*": 2.0, "P": 1.4, "X": 1.4, "^": 1.2, "v": 1.2, "<": 1.2, ">": 1.2}
_UNLABELED = "#b4b4b4"
_DPI = 150
_SIDE = 6.4  # inches of the square that the points have
_LEGEND_ROWS = 26
_LONGEST = 24  # characters of a name
_VECTOR_POINTS = 5000  # beyond it an SVG holds the points as a picture


def draw_scatter(
    points: np.ndarray,
    labels: Sequence[str | None],
    *,
    order: Sequence[str],
    title: str,
    subtitle: str,
    axes: tuple[str, str],
    format: str,
) -> bytes:
    """Draws points of a plane, a color and marker for each label.

    The same arguments give the same bytes.

    Args:
      points: [N, 2] floating.
      labels: N labels; None where a point has none.
      order: All labels, as they are to be listed. Those without a point are left out,
        but keep their color, so that two pictures can be compared.
      title: What is shown.
      subtitle: Of what, and how.
      axes: What the two axes are called; nothing for axes without a meaning.
      format: One of `FORMATS`.

    Returns:
      A PNG or SVG file's bytes.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.hashsalt": "tl_pipeline",
        "svg.fonttype": "none",  # text stays text
        "font.family": "sans-serif",
        "font.size": 10.0,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(_SIDE + 1, _SIDE + 1), dpi=_DPI)
        plot = figure.add_axes((0.1, 0.1, _SIDE / (_SIDE + 1), _SIDE / (_SIDE + 1)))
        _draw_points(plot, points, labels, order)
        _draw_legend(plot, Counter(labels), order)
        _draw_frame(plot, axes, title, subtitle)
        buffer = io.BytesIO()
        figure.savefig(
            buffer,
            format=format.removeprefix("."),
            bbox_inches="tight",
            pad_inches=0.2,
            facecolor="white",
            # Without stamps of when and by what.
            metadata={"Date": None} if format == ".svg" else {"Software": None},
        )
    return buffer.getvalue()


def _draw_points(
    plot: "Axes", points: np.ndarray, labels: Sequence[str | None], order: Sequence[str]
) -> None:
    for layer, label in enumerate(_stack(labels)):
        color, marker = _look(order, label)
        rows = [i for i, other in enumerate(labels) if other == label]
        plot.scatter(
            points[rows, 0],
            points[rows, 1],
            s=_point_size(len(points)) * _THIN.get(marker, 1.0),
            c=color,
            marker=marker,
            alpha=0.75,
            linewidths=0,
            zorder=2 + layer / 1000,
            rasterized=len(points) > _VECTOR_POINTS,
        )


def _draw_legend(
    plot: "Axes", counts: Mapping[str | None, int], order: Sequence[str]
) -> None:
    """Draws the legend beside the frame, in as many columns as it needs."""
    from matplotlib.lines import Line2D

    names = [name for name in (*order, None) if counts.get(name)]
    handles = []
    for name in names:
        color, marker = _look(order, name)
        handles.append(
            Line2D(
                [],
                [],
                ls="",
                marker=marker,
                color=color,
                mew=0,
                ms=6.5 * _THIN.get(marker, 1.0) ** 0.5,
            )
        )
    legend = plot.legend(
        handles,
        # A name that begins with an underscore would be left out here.
        [" "] * len(handles),
        loc="upper left",
        bbox_to_anchor=(1.015, 1.0),
        borderaxespad=0.0,
        frameon=False,
        ncols=max(1, math.ceil(len(names) / _LEGEND_ROWS)),
        fontsize=9 if len(names) <= 2 * _LEGEND_ROWS else 8,
        handletextpad=0.2,
        columnspacing=1.2,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(_shown(name, counts[name]))


def _draw_frame(plot: "Axes", axes: tuple[str, str], title: str, subtitle: str) -> None:
    for height, text, size, color in (
        (1.055, title, 12, "#222222"),
        (1.02, subtitle, 9, "#666666"),
    ):
        plot.text(
            0.0,
            height,
            _shorten(text, 80),
            transform=plot.transAxes,
            fontsize=size,
            color=color,
            parse_math=False,
        )
    plot.margins(0.04)
    plot.set_xlabel(axes[0], color="#444444", parse_math=False)
    plot.set_ylabel(axes[1], color="#444444", parse_math=False)
    for spine in plot.spines.values():
        spine.set_color("#bbbbbb")
    if any(axes):
        plot.tick_params(colors="#666666", labelsize=8)
        plot.grid(color="#eeeeee", linewidth=0.8)
        plot.set_axisbelow(True)
    else:
        plot.set_xticks([])
        plot.set_yticks([])


def _stack(labels: Sequence[str | None]) -> list[str | None]:
    """Returns the labels, those of most points first: few points lie on top of many."""
    counts = Counter(labels)
    return sorted(
        counts, key=lambda name: (name is not None, -counts[name], name or "")
    )


def _look(order: Sequence[str], label: str | None) -> tuple[str, str]:
    if label is None:
        return _UNLABELED, "o"
    place = order.index(label)
    marker = _MARKERS[(place // len(_COLORS)) % len(_MARKERS)]
    return _COLORS[place % len(_COLORS)], marker


def _point_size(n: int) -> float:
    """Returns an area in square points: many points are small."""
    return float(np.clip(24_000 / max(n, 1), 6.0, 40.0))


def _shown(name: str | None, count: int) -> str:
    text = "no label" if name is None else _shorten(name or '""', _LONGEST)
    return f"{text} ({count:,})"


def _shorten(text: str, most: int) -> str:
    text = escape_text(text)
    return text if len(text) <= most else text[: most - 1] + "…"
