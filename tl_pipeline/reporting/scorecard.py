"""Sections of a report on one head: its slices, and how far it can be believed."""

from collections.abc import Mapping, Sequence
from typing import Any

from tl_pipeline.reporting.markup import (
    Html,
    join_html,
    make_element,
    make_prose,
    make_table,
)
from tl_pipeline.reporting.tables import format_cell

_MOST_SLICES = 30
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 420, 320, 52, 46, 12
# Shown of a slice, the first of them that a task has.
_HEADLINES = ("accuracy", "f1_macro", "root_mean_squared_error")


def show_slices(slices: Sequence[Mapping[str, Any]]) -> list[object]:
    """Shows each group column's slices, the worst first, and what they differ in.

    Args:
      slices: Each `column`, `slices` (`group`, `n`, `metrics`, `unsure`) and
        `differences` (each `name` and figures, None where too few examples say so).
    """
    shown: list[object] = []
    for one in slices:
        parts = one["slices"][:_MOST_SLICES]
        rows = [_slice_row(part) for part in parts]
        left_out = len(one["slices"]) - len(parts)
        more = f" The worst {len(parts)} of {len(one['slices']):,}." if left_out else ""
        shown.append(make_element("h3", one["column"]))
        shown.append(
            make_element("p", f"Test examples by {one['column']}, worst first.{more}")
        )
        shown.append(make_table(rows))
        differences = [
            {key.replace("_", " "): value for key, value in row.items()}
            for row in one["differences"]
            if any(value is not None for key, value in row.items() if key != "name")
        ]
        if differences:
            told = (
                "Largest difference between two groups, of those with enough "
                "examples: in how often a class is predicted (demographic parity), in "
                "true or false positive rates (equalized odds), and in errors."
            )
            shown += [make_element("p", told), make_table(differences)]
    return shown


def show_calibration(calibration: Mapping[str, Any] | None) -> list[object]:
    """Shows how often a head is right by how sure it is, and what scaling changes.

    Args:
      calibration: `temperature`, `applied`, `test` and `test_scaled` (metrics), and
        `bins` (see `draw_reliability`); None where there is nothing to show.
    """
    if calibration is None:
        return []
    temperature = calibration["temperature"]
    is_sure = "too sure" if temperature > 1 else "not sure enough"
    told = (
        "No temperature makes its probabilities fit better where it was chosen."
        if temperature == 1
        else f"Where it was chosen it was {is_sure}: dividing its logits by "
        f"{temperature:.3g} fits best. "
        + (
            "The head does so."
            if calibration["applied"]
            else "The head does not; `calibrate` makes it."
        )
    )
    rows = [
        {
            "metric on test": name.replace("_", " "),
            "unscaled": value,
            "scaled": calibration["test_scaled"].get(name),
        }
        for name, value in calibration["test"].items()
    ]
    return [
        make_element("p", make_prose(told)),
        draw_reliability(calibration["bins"]),
        make_table(rows),
    ]


def draw_reliability(bins: Sequence[Mapping[str, Any]]) -> Html:
    """Draws how often predictions are right over how sure they are.

    Args:
      bins: Each `n` predictions with their mean `confidence` and the share `accuracy`.

    Returns:
      A figure; nothing where no bin holds a prediction.
    """
    filled = [one for one in bins if one["n"]]
    if not filled:
        return Html()
    most = max(one["n"] for one in filled)
    right, top, base = _WIDTH - _EDGE, _EDGE, _HEIGHT - _BOTTOM

    def across(x: float) -> float:
        return _LEFT + x * (right - _LEFT)

    def down(y: float) -> float:
        return base - y * (base - top)

    shapes = [
        make_element(
            "line",
            x1=_LEFT,
            x2=right,
            y1=f"{down(y):.1f}",
            y2=f"{down(y):.1f}",
            class_="rule",
        )
        for y in (0, 0.5, 1)
    ]
    shapes += [_label(f"{y:g}", _LEFT - 8, down(y) + 4, "end") for y in (0, 0.5, 1)]
    shapes += [_label(f"{x:g}", across(x), base + 18, "middle") for x in (0, 0.5, 1)]
    shapes.append(_label("how sure", (_LEFT + right) / 2, _HEIGHT - 8, "middle"))
    ends = f"{_LEFT},{base} {right},{top}"
    shapes.append(make_element("polyline", points=ends, class_="even"))
    for one in filled:
        shapes.append(
            make_element(
                "circle",
                make_element(
                    "title",
                    f"{one['n']:,} predictions: {one['confidence']:.0%} sure, "
                    f"{one['accuracy']:.0%} right",
                ),
                cx=f"{across(one['confidence']):.1f}",
                cy=f"{down(one['accuracy']):.1f}",
                r=f"{3 + 7 * (one['n'] / most) ** 0.5:.1f}",
                class_="dot s0",
            )
        )
    drawing = make_element(
        "svg",
        *shapes,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label="How often predictions are right over how sure they are",
    )
    caption = (
        "How often it is right over how sure it is, on test, by bins; the larger a "
        "dot, the more examples. On the diagonal its probabilities can be believed."
    )
    return make_element(
        "figure",
        make_element("figcaption", caption),
        make_element("div", drawing, class_="square"),
    )


def _slice_row(part: Mapping[str, Any]) -> dict[str, object]:
    name = next((one for one in _HEADLINES if one in part["metrics"]), None)
    found = part["metrics"].get(name) if name else None
    shown = "" if name is None else name.replace("_", " ")
    return {
        "group": "none" if part["group"] is None else part["group"],
        "examples": part["n"],
        "metric": shown,
        "value": found["value"] if found else None,
        "95 %": join_html(
            (format_cell(found["low"]), " to ", format_cell(found["high"]))
        )
        if found
        else "",
        "can it be said?": "yes" if part["unsure"] is None else f"no: {part['unsure']}",
    }


def _label(text: str, x: float, y: float, anchor: str) -> Html:
    return make_element("text", text, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor)
