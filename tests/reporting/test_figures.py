import re
from typing import Any

import pytest

from tl_pipeline.reporting.figures import draw_share, draw_validation, make_ticks


def points(drawn: str, line: int = 0) -> list[tuple[float, float]]:
    (path,) = re.findall(rf'points="([^"]*)" class="line s{line}"', drawn)
    return [tuple(map(float, pair.split(","))) for pair in path.split()]  # pyright: ignore


def test_the_curve_goes_from_weak_to_strong_and_lower_losses_stand_lower(
    metrics: dict[str, Any],
):
    drawn = draw_validation(metrics["candidates"][::-1])
    (x0, y0), (x1, y1), (x2, y2) = points(drawn)
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1)  # two decades each
    assert y1 > y2 > y0  # losses 0.2, 0.4, 0.5, and SVG counts downwards
    assert f'cx="{x1:.1f}" cy="{y1:.1f}"' in drawn
    assert drawn.count("<circle") == 1


def test_each_feature_has_a_line_the_best_first_and_too_many_are_cut(
    metrics: dict[str, Any],
):
    heads = [
        head | {"feature": f"layer{i}", "log_loss": head["log_loss"] + i}
        for i in reversed(range(9))
        for head in metrics["candidates"]
    ]
    drawn = draw_validation(heads)
    assert drawn.count("<polyline") == 6
    assert "The best 6 of 9 lines" in drawn
    assert re.findall(r"linear on layer(\d)", drawn) == list("012345")


def test_points_that_cannot_be_drawn_are_left_out(metrics: dict[str, Any]):
    heads = metrics["candidates"]
    odd = [heads[0] | {"log_loss": x} for x in (float("nan"), float("inf"), None)]
    assert draw_validation(heads + odd) == draw_validation(heads)
    assert draw_validation(heads[:1]) == ""
    assert draw_validation(odd) == ""
    knn = {"kind": "knn", "feature": "pool", "log_loss": 0.5, "chosen": False}
    assert draw_validation([knn]) == ""


def test_heads_that_are_all_perfect_are_still_drawn(metrics: dict[str, Any]):
    drawn = draw_validation([h | {"log_loss": 0.0} for h in metrics["candidates"]])
    assert {y for _, y in points(drawn)} == {196.0}


@pytest.mark.parametrize("highest", [1e-7, 0.0999, 0.1, 0.3, 0.556, 1.0, 4.0, 7.3, 99])
def test_ticks_are_few_round_and_reach_the_top(highest: float):
    ticks = make_ticks(highest)
    assert 3 <= len(ticks) <= 5
    assert ticks[0] == 0
    assert highest <= ticks[-1] <= 2.5 * highest
    assert all(len(f"{tick:g}".replace("e-0", "").strip("0.")) <= 2 for tick in ticks)


def test_a_share_is_told_as_a_figure_beside_its_bar():
    assert "--share:0.6250" in draw_share(0.625)
    assert ">0.625 ± 0.020<" in draw_share(0.625, 0.02)
