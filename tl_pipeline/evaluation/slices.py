"""Metrics of each group of examples, worst first, and what groups differ in."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.digest import Json
from tl_pipeline.evaluation.metrics import LOSSES
from tl_pipeline.evaluation.scored import Scored, check_scored
from tl_pipeline.evaluation.uncertainty import Interval, bootstrap_intervals
from tl_pipeline.tasks import Task, TaskKind

# Of 30 examples that are all right, up to a tenth could still be wrong (3 / n, the
# upper end of a 95 % interval).
LEAST_EXAMPLES = 30
# Ends this far apart say neither good nor bad; of errors, relative to the error.
WIDEST = 0.2
HEADLINE: dict[TaskKind, str] = {
    "multiclass": "accuracy",
    "binary": "accuracy",
    "multilabel": "f1_macro",
    "regression": "root_mean_squared_error",
}


class Slice(NamedTuple):
    """The examples of one group.

    Attributes:
      group: The value of the group column; None where an example has none.
      n: Examples.
      metrics: Every metric with its interval; none of fewer than 30 examples.
      unsure: Why the slice is too small to say anything; None where it is not.
    """

    group: str | None
    n: int
    metrics: dict[str, Interval]
    unsure: str | None

    def to_json(self) -> dict[str, Json]:
        """Returns the slice as plain data."""
        metrics: dict[str, Json] = {k: v._asdict() for k, v in self.metrics.items()}
        return {
            "group": self.group,
            "n": self.n,
            "metrics": metrics,
            "unsure": self.unsure,
        }


def score_slices(
    task: Task,
    targets: ArrayLike,
    outputs: ArrayLike,
    groups: Sequence[str | None],
    *,
    rng: np.random.Generator,
    thresholds: ArrayLike = (),
    n_resamples: int = 1000,
) -> list[Slice]:
    """Scores each group alone, with intervals, the worst by its `HEADLINE` first.

    A slice is too small to say anything of fewer than 30 examples, of which nothing is
    computed, or where the interval of its headline metric is wider than 0.2 (of an
    error: than a fifth of it). Such slices come last.

    Args:
      task: What was asked.
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      groups: N values of a group column.
      rng: Decides the resamples.
      thresholds: As for `score_all`.
      n_resamples: How many.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.
    """
    check_scored(targets, outputs, task=task, thresholds=thresholds)
    truth, shares = np.asarray(targets), np.asarray(outputs)
    name = HEADLINE[task.kind]
    slices = []
    for group, rows in _rows_of_groups(groups).items():
        known = rows if truth.ndim == 1 else rows[~np.isnan(truth[rows]).all(axis=1)]
        n, metrics = len(known), {}
        unsure = f"{n} examples, fewer than {LEAST_EXAMPLES}"
        if n >= LEAST_EXAMPLES:
            metrics = bootstrap_intervals(
                truth[known],
                shares[known],
                task=task,
                thresholds=thresholds,
                rng=rng,
                n_resamples=n_resamples,
            )
            unsure = _why_unsure(name, metrics.get(name))
        slices.append(Slice(group, n, metrics, unsure))
    worst_high = -1 if name in LOSSES else 1

    def order(one: Slice) -> tuple[bool, float, str]:
        value = one.metrics[name].value * worst_high if name in one.metrics else np.inf
        return one.unsure is not None, value, one.group or ""

    return sorted(slices, key=order)


def group_differences(
    task: Task,
    targets: ArrayLike,
    outputs: ArrayLike,
    groups: Sequence[str | None],
    *,
    thresholds: ArrayLike = (),
) -> list[dict[str, Json]]:
    """Computes how far groups are apart in errors and in what is predicted for them.

    By fairlearn's definitions, of a yes Ŷ, a target Y and groups a:

    * `demographic_parity_difference`: the largest less the smallest selection rate
      P(Ŷ = 1 | a); `demographic_parity_ratio`: the smallest over the largest.
    * `equalized_odds_difference`: the larger of the same difference of true positive
      rates P(Ŷ = 1 | a, Y = 1) and of false positive rates P(Ŷ = 1 | a, Y = 0);
      `equalized_odds_ratio`: the smaller of their ratios.
    * `error_difference`: the largest less the smallest error rate P(Ŷ ≠ Y | a); of
      numbers, mean absolute error.

    A rate of fewer than 30 examples counts nowhere, and what is left without two
    groups is None. The largest of many rates lies above the smallest by chance alone:
    a difference is read beside the intervals of `score_slices`.

    Args:
      task: What was asked.
      targets: As `Task` encodes them.
      outputs: What a head gives for them.
      groups: N values of a group column; None is no group.
      thresholds: As for `score_all`.

    Returns:
      A row with `name` and the differences: of `binary` the positive class alone, else
      each class against the rest, each label, or each target column.

    Raises:
      DatasetError: There are no examples, or the two do not fit each other.

    Reference:
      fairlearn.metrics: `demographic_parity_difference`, `equalized_odds_difference`
      and their ratios, method "between_groups", aggregated by the worst case.
      https://fairlearn.org/main/user_guide/assessment/common_fairness_metrics.html
    """
    scored = check_scored(targets, outputs, task=task, thresholds=thresholds)
    members = [rows for g, rows in _rows_of_groups(groups).items() if g is not None]
    found = []
    for k, name in enumerate(task.names):
        if task.kind == "binary" and k == 0:
            continue
        if task.kind == "regression":
            errors = np.abs(scored.outputs[:, k] - scored.targets[:, k])
            rates = [_rate(errors[rows]) for rows in members]
            found.append({"name": name, "error_difference": _apart(rates)[0]})
            continue
        truth, guess = _sides(scored, k)
        found.append({"name": name} | _differences(truth, guess, members))
    return found


def _differences(
    truth: np.ndarray, guess: np.ndarray, members: list[np.ndarray]
) -> dict[str, Json]:
    """Compares groups by [N] float64 targets (NaN: unknown) and decisions."""
    missed = np.where(np.isnan(truth), np.nan, truth != guess)
    selected = [_rate(guess[rows][~np.isnan(truth[rows])]) for rows in members]
    hit = [_rate(guess[rows][truth[rows] == 1]) for rows in members]
    alarm = [_rate(guess[rows][truth[rows] == 0]) for rows in members]
    wrong = [_rate(missed[rows]) for rows in members]
    parity = _apart(selected)
    odds = [_apart(hit), _apart(alarm)]
    gaps = [gap for gap, _ in odds if gap is not None]
    ratios = [ratio for _, ratio in odds if ratio is not None]
    both = len(gaps) == 2
    return {
        "demographic_parity_difference": parity[0],
        "demographic_parity_ratio": parity[1],
        "equalized_odds_difference": max(gaps) if both else None,
        "equalized_odds_ratio": min(ratios) if both and len(ratios) == 2 else None,
        "error_difference": _apart(wrong)[0],
    }


def _sides(scored: Scored, k: int) -> tuple[np.ndarray, np.ndarray]:
    if scored.task.is_single_class:
        return (scored.targets == k) * 1.0, (scored.predictions == k) * 1.0
    return scored.targets[:, k], scored.predictions[:, k] * 1.0


def _rate(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) >= LEAST_EXAMPLES else None


def _apart(rates: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Returns the largest less the smallest rate, and the smallest over the largest."""
    known = [rate for rate in rates if rate is not None]
    if len(known) < 2:
        return None, None
    low, high = min(known), max(known)
    return high - low, low / high if high else None


def _why_unsure(name: str, interval: Interval | None) -> str | None:
    if interval is None:
        return f"no {name.replace('_', ' ')} is defined"
    widest = WIDEST * (abs(interval.value) if name in LOSSES else 1)
    width = interval.high - interval.low
    if width <= widest:
        return None
    return f"{name.replace('_', ' ')} is known within {width:.2g} only"


def _rows_of_groups(groups: Sequence[str | None]) -> dict[str | None, np.ndarray]:
    rows: dict[str | None, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return {group: np.array(each) for group, each in rows.items()}
