from typing import Any

from tl_pipeline.reporting.scorecard import (
    draw_reliability,
    show_calibration,
    show_slices,
)


def test_slices_say_what_cannot_be_said(metrics: dict[str, Any]):
    shown = "".join(map(str, show_slices(metrics["slices"])))
    assert "camera &lt;b&gt;" in shown and "<b>" not in shown
    assert "no: 3 examples, fewer than 30" in shown
    assert "0.650 to 0.750" in shown
    assert "error difference" in shown
    nothing = [{"name": "bees", "error_difference": None}]
    metrics["slices"][0]["differences"] = nothing
    assert "error" not in "".join(map(str, show_slices(metrics["slices"])))


def test_only_the_worst_of_many_slices_are_shown(metrics: dict[str, Any]):
    (one,) = metrics["slices"]
    one["slices"] = one["slices"][:1] * 40
    shown = "".join(map(str, show_slices([one])))
    assert shown.count("<tr") == 1 + 30 + 2  # and the table of differences
    assert "The worst 30 of 40." in shown


def test_a_head_that_is_too_sure_is_said_to_be(metrics: dict[str, Any]):
    calibration = metrics["calibration"]
    shown = "".join(map(str, show_calibration(calibration)))
    assert "too sure" in shown and "The head does not" in shown
    calibration |= {"temperature": 0.5, "applied": True}
    shown = "".join(map(str, show_calibration(calibration)))
    assert "not sure enough" in shown and "The head does so" in shown
    calibration["temperature"] = 1.0
    assert "No temperature" in "".join(map(str, show_calibration(calibration)))
    assert show_calibration(None) == []


def test_the_diagonal_is_where_probabilities_can_be_believed(metrics: dict[str, Any]):
    drawn = draw_reliability(metrics["calibration"]["bins"])
    assert drawn.count("<circle") == 1  # the empty bin has none
    assert "9 predictions: 80% sure, 70% right" in drawn
    assert draw_reliability(metrics["calibration"]["bins"][:1]) == ""
