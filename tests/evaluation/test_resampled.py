"""Intervals of every metric: each resample as if scored alone, and truth covered."""

import numpy as np
import pytest

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation import uncertainty
from tl_pipeline.evaluation.metrics import score_all
from tl_pipeline.evaluation.uncertainty import bootstrap_intervals
from tl_pipeline.tasks import TASK_KINDS, Task


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", TASK_KINDS)
def test_every_metric_of_a_resample_is_what_scoring_it_alone_gives(
    make_case, kind, ties
):
    # So few that many resamples lack a class, or hold one value alone.
    n, missing = 7, 0.0 if kind in ("multiclass", "binary") else 0.3
    task, targets, outputs = make_case(kind, n, 6, 3, missing=missing, ties=ties)
    thresholds = {"binary": 0.4, "multilabel": np.linspace(0.2, 0.7, 6)}.get(kind, ())
    found = bootstrap_intervals(
        targets,
        outputs,
        task=task,
        thresholds=thresholds,
        rng=np.random.default_rng(1),
        n_resamples=40,
    )
    rows = np.random.default_rng(1).integers(0, n, (40, n))
    scores = []
    for drawn in rows:
        try:
            scores.append(
                score_all(task, targets[drawn], outputs[drawn], thresholds=thresholds)
            )
        except DatasetError:  # a resample without a known target
            continue
    values = score_all(task, targets, outputs, thresholds=thresholds)
    assert found.keys() == values.keys()
    for name, value in values.items():
        defined = np.array([score[name] for score in scores if name in score])
        if name == "expected_calibration_error":  # without what resampling adds to it
            defined = np.maximum(defined - defined.mean() + value, 0)
        ends = np.quantile(defined, [0.025, 0.975])
        assert found[name] == pytest.approx((value, *ends), abs=1e-10), name


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_the_interval_of_the_calibration_error_holds_its_value(kind):
    rng = np.random.default_rng(0)
    for n in (20, 60, 200, 1000):
        task, targets, outputs = planted(kind, n, rng)
        found = bootstrap_intervals(targets, outputs, task=task, rng=rng)
        value, low, high = found["expected_calibration_error"]
        assert 0 <= low < value < high, n


@pytest.mark.parametrize(
    ("n_times", "least", "most"),
    [(40, 34, 40), pytest.param(400, 364, 394, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("kind", TASK_KINDS)
def test_intervals_of_every_metric_cover_the_truth_at_their_stated_rate(
    kind, n_times, least, most
):
    rng = np.random.default_rng(0)
    task, targets, outputs = planted(kind, 100_000, rng)
    truth = score_all(task, targets, outputs)
    # Upwards biased where examples are few, as the docstring says.
    truth.pop("expected_calibration_error", None)
    covered = dict.fromkeys(truth, 0)
    for _ in range(n_times):
        rows = rng.integers(0, len(targets), 300)
        found = bootstrap_intervals(
            targets[rows], outputs[rows], task=task, rng=rng, n_resamples=200
        )
        for name in truth:
            covered[name] += found[name].low <= truth[name] <= found[name].high
    # 95 % of 40 is 38, give or take 1.4; of 400 it is 380, give or take 4.4. Percentile
    # intervals of 300 skewed values run a point or two short.
    for name, n in covered.items():
        assert least <= n <= most, (name, covered)


def planted(
    kind: str, n: int, rng: np.random.Generator
) -> tuple[Task, np.ndarray, np.ndarray]:
    """Targets drawn from outputs that are told: calibrated by construction."""
    task = Task(kind, ("a", "b") if kind == "binary" else ("a", "b", "c"))  # pyright: ignore
    logits = rng.normal(size=(n, task.n_outputs)) * 1.5
    if task.is_single_class:
        outputs = np.exp(logits)
        outputs /= outputs.sum(axis=1, keepdims=True)
        drawn = (rng.random((n, 1)) > outputs.cumsum(axis=1)).sum(axis=1)
        return task, np.minimum(drawn, task.n_outputs - 1), outputs
    if kind == "multilabel":
        outputs = 1 / (1 + np.exp(-logits))
        targets = (rng.random(outputs.shape) < outputs) * 1.0
    else:
        outputs, targets = logits, logits + rng.normal(size=logits.shape)
    targets[rng.random(targets.shape) < 0.1] = np.nan
    return task, targets, outputs


def test_where_ranking_costs_too_much_fewer_resamples_are_ranked(
    make_case, monkeypatch
):
    task, targets, outputs = make_case("multiclass", 30, 4, 0)

    def intervals(n_resamples: int) -> dict[str, uncertainty.Interval]:
        rng = np.random.default_rng(0)
        return bootstrap_intervals(
            targets, outputs, task=task, rng=rng, n_resamples=n_resamples
        )

    all_ranked, few = intervals(600), intervals(300)
    monkeypatch.setattr(uncertainty, "MOST_RANKED_WEIGHTS", 300 * 30 * 4)
    monkeypatch.setattr(uncertainty, "_COUNTS_AT_ONCE", 70 * 30)
    found = intervals(600)
    for name in ("roc_auc", "average_precision"):
        assert found[name] == pytest.approx(few[name])
        assert found[name] != pytest.approx(all_ranked[name])
    assert found["accuracy"] == all_ranked["accuracy"]
    monkeypatch.setattr(uncertainty, "MOST_RANKED_WEIGHTS", 1)
    assert intervals(600)["roc_auc"] == pytest.approx(intervals(200)["roc_auc"])


def rng_of_one_label() -> np.random.Generator:
    """Draws one of two examples twice."""
    for seed in range(10):
        first, second = np.random.default_rng(seed).integers(0, 2, 2)
        if first == second:
            return np.random.default_rng(seed)
    raise AssertionError


def test_a_metric_that_no_resample_defines_has_no_interval():
    task = Task("multilabel", ("a",))
    found = bootstrap_intervals(
        [[1], [0]], [[0.9], [0.2]], task=task, rng=rng_of_one_label(), n_resamples=1
    )
    assert "roc_auc" not in found
    assert "log_loss" in found


def test_without_a_task_only_the_quick_metrics_have_intervals(make_case):
    _, targets, outputs = make_case("multiclass", 20, 3, 0)
    found = bootstrap_intervals(targets, outputs, rng=np.random.default_rng(0))
    assert set(found) == {"accuracy", "balanced_accuracy", "f1_macro", "log_loss"}
