"""Figures as inline SVG: text stays text, and colors are the page's own."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tl_pipeline.reporting.markup import Html, make_element
from tl_pipeline.reporting.tables import format_cell

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 16, 44
_MOST_LINES = 6  # as many as the page has colors for


def draw_validation(candidates: Sequence[Mapping[str, Any]]) -> Html:
    """Draws the log loss over the L2 strength, a line for each feature.

    Args:
      candidates: Heads with `kind`, `feature`, `l2`, `log_loss` and `chosen`. Those
        without a strength or a finite loss are left out.

    Returns:
      A figure; nothing where no line has two strengths. Of many lines the best are
      drawn.
    """
    lines: dict[str, list[tuple[float, float, bool]]] = defaultdict(list)
    for head in candidates:
        l2, loss = head.get("l2"), head.get("log_loss")
        if l2 and loss is not None and math.isfinite(loss):
            name = f"{head['kind']} on {head['feature']}"
            if "views" in head:
                name += f", {head['views']} views"
            if "columns" in head:
                name += f", {head['columns']:,} columns"
            lines[name].append((math.log10(l2), loss, bool(head["chosen"])))
    drawn = {
        name: sorted(points)
        for name, points in lines.items()
        if len({x for x, *_ in points}) > 1
    }
    best = sorted(drawn, key=lambda name: min(loss for _, loss, _ in drawn[name]))
    best = best[:_MOST_LINES]
    points = [point for name in best for point in drawn[name]]
    if not points:
        return Html()
    left, right = min(x for x, *_ in points), max(x for x, *_ in points)
    ticks = make_ticks(max(y for _, y, _ in points))

    def across(x: float) -> float:
        return _LEFT + (x - left) / (right - left) * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / ticks[-1] * (_HEIGHT - _TOP - _BOTTOM)

    shapes = [_rule(down(y), y) for y in ticks]
    decades = range(math.ceil(left), math.floor(right) + 1)
    shapes += [_decade(across(x), x) for x in decades[:: len(decades) // 9 + 1]]
    shapes.append(
        _text(
            "L2 strength (weaker to stronger)",
            (_LEFT + _WIDTH - _RIGHT) / 2,
            _HEIGHT - 6,
            "middle",
        )
    )
    for i, name in enumerate(best):
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y, _ in drawn[name])
        shapes.append(make_element("polyline", points=path, class_=f"line s{i}"))
        for x, y, chosen in drawn[name]:
            if chosen:
                shapes.append(_mark(across(x), down(y), f"dot s{i}"))
    drawing = make_element(
        "svg",
        *shapes,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label="Log loss over the L2 strength",
    )
    keys = [
        make_element("span", make_element("i", class_=f"s{i}"), name)
        for i, name in enumerate(best)
    ]
    left_out = len(drawn) - len(best)
    more = f" The best {len(best)} of {len(drawn)} lines." if left_out else ""
    return make_element(
        "figure",
        make_element(
            "figcaption",
            "Log loss where heads are chosen, lower is better; the dot is the chosen "
            f"head.{more}",
            make_element("div", *keys) if len(best) > 1 else "",
        ),
        make_element("div", drawing, class_="wide"),
    )


def make_ticks(highest: float, *, most: int = 5) -> list[float]:
    """Returns round numbers from 0 to at least `highest`.

    Example:
      >>> make_ticks(0.556)
      [0.0, 0.2, 0.4, 0.6]
    """
    if not highest > 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(highest))
    for step in (size / 10, size / 5, size / 2, size, 2 * size, 5 * size):
        n = math.ceil(highest / step - 1e-9)
        if n < most:
            return [round(i * step, 12) for i in range(n + 1)]
    raise AssertionError("a number is below ten times its own power of ten")


def _rule(y: float, value: float) -> Html:
    line = make_element(
        "line",
        x1=_LEFT,
        x2=_WIDTH - _RIGHT,
        y1=f"{y:.1f}",
        y2=f"{y:.1f}",
        class_="rule",
    )
    return Html(line + _text(f"{value:g}", _LEFT - 8, y + 4, "end"))


def _decade(x: float, exponent: int) -> Html:
    return _text(f"{10.0**exponent:g}", x, _HEIGHT - _BOTTOM + 18, "middle")


def _text(text: str, x: float, y: float, anchor: str) -> Html:
    return make_element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)


def _mark(x: float, y: float, kind: str) -> Html:
    return make_element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=5, class_=kind)


def draw_share(value: float, spread: float | None = None) -> Html:
    """Draws a share between 0 and 1 as its figure and a bar.

    Args:
      value: The share.
      spread: Its standard deviation, told beside it.
    """
    text = format_cell(value)
    if spread is not None:
        text += f" ± {format_cell(spread)}"
    bar = make_element("span", class_="bar", style=f"--share:{value:.4f}")
    return Html(bar + make_element("span", text, class_="figures"))
