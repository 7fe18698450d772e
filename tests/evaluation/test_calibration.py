"""Temperature and thresholds: the optimum on val, by scikit-learn's and scipy's own."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn import metrics
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.calibration import (
    apply_temperature,
    fit_temperature,
    fit_thresholds,
)
from tl_pipeline.evaluation.metrics import score, score_all
from tl_pipeline.evaluation.reliability import reliability_bins
from tl_pipeline.tasks import Task

CLASSIFYING = ("multiclass", "binary", "multilabel")


@pytest.mark.parametrize("kind", CLASSIFYING)
def test_the_temperature_minimizes_the_log_loss(make_case, kind):
    task, targets, outputs = make_case(kind, 300, 4, 0, missing=0.2)

    def loss(log_temperature: float) -> float:
        shares = apply_temperature(task, outputs, np.exp(log_temperature))
        return score(targets, shares, task=task)["log_loss"]

    wanted = minimize_scalar(loss, bounds=(-3, 3), options={"xatol": 1e-9})
    found = fit_temperature(task, targets, outputs)
    assert found == pytest.approx(np.exp(wanted.x), rel=1e-5)
    assert found != pytest.approx(1, abs=0.05)


def test_the_temperature_is_that_of_scikit_learn(make_case):
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(400, 5)), rng.integers(0, 3, 400)
    features[:, :3] += np.eye(3)[targets]
    head = LogisticRegression(C=1e6).fit(features[:40], targets[:40])
    oracle = CalibratedClassifierCV(FrozenEstimator(head), method="temperature")
    oracle.fit(features[40:], targets[40:])
    task, shares = (
        Task("multiclass", ("a", "b", "c")),
        head.predict_proba(features[40:]),
    )
    temperature = fit_temperature(task, targets[40:], shares)
    np.testing.assert_allclose(
        apply_temperature(task, shares, temperature),
        oracle.predict_proba(features[40:]),
        atol=1e-5,
    )


@pytest.mark.parametrize("kind", CLASSIFYING)
def test_a_temperature_of_1_changes_nothing_and_none_moves_the_likeliest(
    make_case, kind
):
    task, _, outputs = make_case(kind, 50, 4, 0)
    np.testing.assert_allclose(apply_temperature(task, outputs, 1.0), outputs)
    cooled = apply_temperature(task, outputs, 5.0)
    if kind == "multilabel":
        np.testing.assert_array_equal(cooled > 0.5, outputs > 0.5)
    else:
        np.testing.assert_array_equal(cooled.argmax(axis=1), outputs.argmax(axis=1))


def test_where_all_are_right_no_temperature_makes_them_surer():
    task = Task("binary", ("no", "yes"))
    assert fit_temperature(task, [0, 1], [[0.9, 0.1], [0.2, 0.8]]) == 1.0
    assert fit_temperature(task, [1, 0], [[0.9, 0.1], [0.2, 0.8]]) == 1.0
    # Of four that are sure beyond float64, one is wrong: no infinite loss.
    found = fit_temperature(task, [0, 0, 0, 1], [[1.0, 0.0]] * 4)
    assert apply_temperature(task, [[1.0, 0.0]], found)[0, 0] == pytest.approx(0.75)


@pytest.mark.parametrize("maximize", ["f1", "balanced_accuracy"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_no_threshold_does_better_than_the_fitted_one(make_case, kind, ties, maximize):
    task, targets, outputs = make_case(kind, 60, 3, 1, missing=0.2, ties=ties)
    found = fit_thresholds(task, targets, outputs, maximize=maximize)
    if kind == "binary":
        targets, outputs = targets[:, None], outputs[:, 1:]
    function = getattr(metrics, f"{maximize}_score")
    for k, threshold in enumerate(found):
        rows = ~np.isnan(targets[:, k])
        truth, shares = targets[rows, k], outputs[rows, k]
        tried = [function(truth, shares > t) for t in [-1, 0.5, *np.unique(shares)]]
        assert function(truth, shares > threshold) == pytest.approx(max(tried))
    if kind == "multilabel":
        assert len(set(found)) > 1


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_taken():
    task = Task("binary", ("no", "yes"))

    def fit(targets: list[int], positive: list[float]) -> float:
        shares = np.column_stack([1 - np.array(positive), positive])
        return float(fit_thresholds(task, targets, shares)[0])

    assert fit([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == 0.5
    assert fit([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.9]) == pytest.approx(0.25)
    assert fit([1, 1], [0.1, 0.2]) == fit([0, 0], [0.7, 0.9]) == 0.5


def test_thresholds_of_val_raise_the_f1_that_is_scored(make_case):
    task, targets, outputs = make_case("multilabel", 400, 3, 0)
    thresholds = fit_thresholds(task, targets, outputs)
    plain = score_all(task, targets, outputs)["f1_macro"]
    tuned = score_all(task, targets, outputs, thresholds=thresholds)["f1_macro"]
    assert tuned > plain + 0.01


def test_bins_are_those_of_scikit_learn(make_case):
    task, targets, outputs = make_case("multiclass", 300, 4, 0)
    bins = reliability_bins(task, targets, outputs)
    right = outputs.argmax(axis=1) == targets
    accuracy, confidence = calibration_curve(right, outputs.max(axis=1), n_bins=15)
    held = [b for b in bins if b.n]
    assert [b.accuracy for b in held] == pytest.approx(accuracy.tolist())
    assert [b.confidence for b in held] == pytest.approx(confidence.tolist())
    assert sum(b.n for b in bins) == 300
    assert bins[0] == (0, 1 / 15, 0, None, None)


def test_numbers_have_neither_temperature_nor_thresholds():
    task = Task("regression", ("x",))
    for call in (
        lambda: fit_temperature(task, [[1.0]], [[1.0]]),
        lambda: apply_temperature(task, [[1.0]], 1.0),
    ):
        with pytest.raises(DatasetError, match="temperature of a regression task"):
            call()
    with pytest.raises(DatasetError, match="thresholds of a regression task"):
        fit_thresholds(task, [[1.0]], [[1.0]])
