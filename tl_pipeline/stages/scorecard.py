"""The scorecard of a chosen head: every figure, where it was chosen and on test."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.evaluation.calibration import (
    apply_temperature,
    fit_temperature,
    fit_thresholds,
)
from tl_pipeline.evaluation.metrics import count_confusions, score_all, score_classes
from tl_pipeline.evaluation.reliability import reliability_bins
from tl_pipeline.evaluation.slices import group_differences, score_slices
from tl_pipeline.evaluation.uncertainty import bootstrap_intervals
from tl_pipeline.heads.head import Head
from tl_pipeline.stages.choosing import Choosing
from tl_pipeline.stages.labeled import Labeled
from tl_pipeline.stages.sweep import Candidate

_COMPARED = ("log_loss", "brier", "expected_calibration_error")


@dataclasses.dataclass(frozen=True, eq=False)
class Scorecard:
    """What was found of a chosen head.

    Attributes:
      head: The head; with its temperature, where it was asked for.
      outputs: [N, K] what it says of all labeled examples.
      figures: Plain data: `val` and `test` (each metric's interval), `per_class`,
        `confusion`, `calibration`, `slices`.
    """

    head: Head
    outputs: np.ndarray
    figures: Mapping[str, Json]


def score_chosen(
    chosen: Candidate,
    data: Labeled,
    choosing: Choosing,
    *,
    outputs: np.ndarray,
    slices: Mapping[str, Sequence[str | None]],
    calibrate: bool,
    decide_by: Literal["half", "f1", "balanced_accuracy"] = "half",
) -> Scorecard:
    """Scores a head where it was chosen and, once, on test.

    Temperature and thresholds are fitted where heads are chosen, and never see test.

    Args:
      chosen: The head, and what it said where it was chosen.
      data: The labeled rows of its feature.
      choosing: Where it was chosen.
      outputs: [N, K] what it says of all labeled examples.
      slices: Columns of N texts, by whose values test is scored apart.
      calibrate: Whether the head keeps its temperature.
      decide_by: What makes a probability a yes: half, which a head keeps, or what makes
        one of the other two as large as possible where it was chosen.
    """
    task, head = data.task, chosen.head
    where, test = choosing.rows, data.split("test").rows
    at_choice = chosen.outputs
    calibration = None
    if task.kind != "regression":
        temperature = fit_temperature(task, data.targets[where], at_choice)
        scaled = apply_temperature(task, outputs[test], temperature)
        calibration = {
            "temperature": temperature,
            "applied": calibrate,
            "test": _compared(data, test, outputs[test]),
            "test_scaled": _compared(data, test, scaled),
            "bins": [
                bin._asdict()
                for bin in reliability_bins(task, data.targets[test], outputs[test])
            ],
        }
        if calibrate:
            head = dataclasses.replace(head, temperature=temperature)
            outputs = apply_temperature(task, outputs, temperature)
            at_choice = apply_temperature(task, at_choice, temperature)
        if task.kind in ("binary", "multilabel"):
            best_by = "f1" if decide_by == "half" else decide_by
            thresholds = fit_thresholds(
                task, data.targets[where], at_choice, maximize=best_by
            )
            calibration["thresholds"] = thresholds.tolist()
            calibration["thresholds_applied"] = decide_by != "half"
            calibration["test_thresholded"] = score_all(
                task, data.targets[test], outputs[test], thresholds=thresholds
            )
            if decide_by != "half":
                head = dataclasses.replace(head, thresholds=tuple(thresholds.tolist()))
    truth, said = data.targets[test], outputs[test]
    least = head.thresholds
    figures: dict[str, Any] = {
        "val": _intervals(data, where, at_choice, least),
        "test": _intervals(data, test, said, least),
        "per_class": score_classes(task, truth, said, thresholds=least),
        "confusion": count_confusions(task, truth, said, thresholds=least).tolist()
        if task.is_single_class
        else [],
        "calibration": calibration,
        "slices": [
            _slice(data, test, said, name, column, least)
            for name, column in slices.items()
        ],
    }
    return Scorecard(head, outputs, figures)


def _slice(
    data: Labeled,
    rows: np.ndarray,
    outputs: np.ndarray,
    name: str,
    column: Sequence[str | None],
    thresholds: Sequence[float],
) -> dict[str, Any]:
    groups = [column[row] for row in rows]
    given = data.task, data.targets[rows], outputs, groups
    rng = np.random.default_rng([2, len(rows)])
    found = score_slices(*given, rng=rng, thresholds=thresholds)
    return {
        "column": name,
        "slices": [one.to_json() for one in found],
        "differences": group_differences(*given, thresholds=thresholds),
    }


def _intervals(
    data: Labeled, rows: np.ndarray, outputs: np.ndarray, thresholds: Sequence[float]
) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng([0, len(rows)])
    found = bootstrap_intervals(
        data.targets[rows], outputs, rng=rng, task=data.task, thresholds=thresholds
    )
    return {name: interval._asdict() for name, interval in found.items()}


def _compared(data: Labeled, rows: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
    found = score_all(data.task, data.targets[rows], outputs)
    return {name: found[name] for name in _COMPARED if name in found}
