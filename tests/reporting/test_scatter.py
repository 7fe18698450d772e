import io
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.reporting.scatter import draw_scatter

POINTS = np.random.default_rng(0).standard_normal((300, 2))


def draw(labels: list[str | None], *, points: np.ndarray = POINTS, **changes: object):
    names = sorted({label for label in labels if label is not None})
    options: dict = {
        "order": names,
        "title": "pool of photos",
        "subtitle": "a store",
        "axes": ("component 1", "component 2"),
        "format": ".svg",
    }
    return draw_scatter(points[: len(labels)], labels, **(options | changes))


def texts(svg: bytes) -> list[str]:
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)<", svg.decode())]


def test_every_label_is_listed_with_its_count_and_no_label_last():
    shown = texts(draw(["ants"] * 5 + [None] * 2 + ["bees"] * 3))
    start = shown.index("ants (5)")
    assert shown[start : start + 3] == ["ants (5)", "bees (3)", "no label (2)"]


def test_names_are_text_and_never_a_formula_or_left_out():
    shown = texts(draw(["_hidden", "$x^2$", "$broken", "a\nb"], title="$1 of 2$"))
    for text in ("_hidden (1)", "$x^2$ (1)", "$broken (1)", r"a\nb (1)", "$1 of 2$"):
        assert text in shown


def test_long_names_are_cut_and_other_scripts_draw_without_a_warning():
    long = "x" * 99
    assert "x" * 23 + "… (1)" in texts(draw([long, "b"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(["类", "b"], format=".png")


def looks(svg: bytes) -> set[tuple[str, str]]:
    """Returns the (shape, color) of every marker that the legend shows."""
    legend = svg.decode().partition('<g id="legend_1">')[2]
    shapes = dict(re.findall(r'<path id="(\w+)" d="([^"]*)"', legend))
    used = re.findall(r'<use xlink:href="#(\w+)"[^>]*fill: (#\w+)', legend)
    return {(shapes.get(name, name), color) for name, color in used}


@pytest.mark.parametrize("n", [2, 10, 100])
def test_up_to_a_hundred_labels_each_look_like_no_other(n: int):
    labels: list[str | None] = [f"class {i:03d}" for i in range(n)]
    svg = draw(labels * 3)
    assert len(looks(svg)) == n
    assert sum(text.startswith("class ") for text in texts(svg)) == n


def test_a_color_stays_when_other_labels_have_no_point():
    order = ["ants", "bees", "wasps"]
    all_three, last = draw(["ants", "bees", "wasps"]), draw(["wasps"] * 3, order=order)
    assert looks(last) < looks(all_three)
    assert "ants (0)" not in texts(last)


def test_the_legend_lies_beside_the_points_and_within_the_picture():
    labels: list[str | None] = [f"class {i:03d}" for i in range(100)]
    picture = Image.open(io.BytesIO(draw(labels * 3, format=".png"))).convert("L")
    ink = np.array(picture) < 250
    columns = np.flatnonzero(ink.any(axis=0))
    assert columns[0] > 5 and columns[-1] < ink.shape[1] - 6  # a margin on both sides
    assert ink.shape[1] > 1.5 * ink.shape[0]  # the legend made it wider


@pytest.mark.parametrize("format", [".png", ".svg"])
def test_the_same_points_give_the_same_bytes(format: str):
    assert draw(["a", "b"], format=format) == draw(["a", "b"], format=format)


def test_very_many_points_do_not_swell_a_drawing():
    points = np.random.default_rng(0).standard_normal((6000, 2))
    svg = draw(["a"] * 6000, points=points)
    assert len(svg) < 500_000 and b"<image" in svg
