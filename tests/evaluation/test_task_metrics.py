"""Metrics of every task: those of scikit-learn, and none where nothing is defined."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.metrics import (
    LOSSES,
    METRICS,
    QUICK_METRICS,
    score,
    score_all,
    score_classes,
)
from tl_pipeline.tasks import TASK_KINDS, Task

CASE = {
    "n": st.integers(1, 30),
    "k": st.integers(2, 8),
    "seed": st.integers(0, 2**32),
    "missing": st.sampled_from([0.0, 0.3]),
    "ties": st.booleans(),
}


def brier(truth: np.ndarray, shares: np.ndarray) -> float:
    return float(((np.eye(shares.shape[1])[truth] - shares) ** 2).sum(axis=1).mean())


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Guo et al. (2017), equations 2 and 3, bin by bin."""
    total = 0.0
    for m in range(15):
        held = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if held.any():
            gap = abs(right[held].mean() - confidence[held].mean())
            total += held.mean() * gap
    return total


@given(**CASE)
@settings(max_examples=25)
def test_metrics_of_classes_are_those_of_scikit_learn(make_case, **case):
    task, truth, shares = make_case("multiclass", **case)
    found, guess = score_all(task, truth, shares), shares.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = {
            "accuracy": metrics.accuracy_score(truth, guess),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, guess),
            "log_loss": metrics.log_loss(truth, shares, labels=range(len(task.names))),
            "brier": brier(truth, shares) / (2 if len(task.names) == 2 else 1),
            "expected_calibration_error": calibration_error(
                shares.max(axis=1), guess == truth
            ),
        }
        for average in ("macro", "micro"):
            for name in ("precision", "recall", "f1"):
                function = getattr(metrics, f"{name}_score")
                wanted[f"{name}_{average}"] = function(truth, guess, average=average)
        labels = np.arange(len(task.names))
        if len(labels) > 5:
            wanted["top_5_accuracy"] = metrics.top_k_accuracy_score(
                truth, shares, k=5, labels=labels
            )
        held, of_label = np.unique(truth), np.eye(len(labels))[truth]
        wanted["average_precision"] = metrics.average_precision_score(
            of_label[:, held], shares[:, held], average="macro"
        )
        if len(held) > 1:
            wanted["roc_auc"] = metrics.roc_auc_score(
                of_label[:, held], shares[:, held], average="macro"
            )
    assert found == pytest.approx(wanted, abs=1e-9)
    quick = score(truth, shares, task=task)
    assert quick == pytest.approx({name: wanted[name] for name in METRICS}, abs=1e-9)


@given(**CASE, threshold=st.sampled_from([(), 0.2, 0.7]))
@settings(max_examples=25)
def test_metrics_of_two_classes_are_those_of_the_positive_one(
    make_case, threshold, **case
):
    task, truth, shares = make_case("binary", **case)
    found = score_all(task, truth, shares, thresholds=threshold)
    guess = (shares[:, 1] > (threshold or 0.5)).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = {
            "accuracy": metrics.accuracy_score(truth, guess),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, guess),
            "f1_macro": metrics.f1_score(truth, guess, average="macro"),
            "log_loss": metrics.log_loss(truth, shares, labels=[0, 1]),
            "brier": np.mean((truth - shares[:, 1]) ** 2),
            "expected_calibration_error": calibration_error(
                shares.max(axis=1), shares.argmax(axis=1) == truth
            ),
        }
    if guess.any():
        wanted["precision"] = metrics.precision_score(truth, guess)
    if truth.any():
        wanted["recall"] = metrics.recall_score(truth, guess)
        wanted["average_precision"] = metrics.average_precision_score(
            truth, shares[:, 1]
        )
        if not truth.all():
            wanted["roc_auc"] = metrics.roc_auc_score(truth, shares[:, 1])
    if truth.any() or guess.any():
        wanted["f1"] = metrics.f1_score(truth, guess)
    assert found == pytest.approx(wanted, abs=1e-9)


@given(**CASE)
@settings(max_examples=25)
def test_metrics_of_labels_are_those_of_scikit_learn_where_targets_are_known(
    make_case, **case
):
    task, targets, shares = make_case("multilabel", **case)
    found, known = score_all(task, targets, shares), ~np.isnan(targets)
    columns = [
        (targets[rows, k].astype(int), shares[rows, k])
        for k, rows in enumerate(known.T)
        if rows.any()
    ]
    some = [(truth, p) for truth, p in columns if truth.any()]
    mixed = [(truth, p) for truth, p in some if not truth.all()]
    wanted = {
        "log_loss": np.mean(
            [metrics.log_loss(y, p, labels=[0, 1]) for y, p in columns]
        ),
        "brier": np.mean(
            [metrics.brier_score_loss(y, p, labels=[0, 1]) for y, p in columns]
        ),
        "expected_calibration_error": calibration_error(
            np.maximum(shares, 1 - shares)[known],
            ((shares > 0.5) == targets)[known],
        ),
    }
    if some:
        wanted["average_precision"] = np.mean(
            [metrics.average_precision_score(y, p) for y, p in some]
        )
    if mixed:
        wanted["roc_auc"] = np.mean([metrics.roc_auc_score(y, p) for y, p in mixed])
        wanted["balanced_accuracy"] = np.mean(
            [metrics.balanced_accuracy_score(y, p > 0.5) for y, p in mixed]
        )
    whole = known.all(axis=1)
    if whole.any():
        wanted["subset_accuracy"] = metrics.accuracy_score(
            targets[whole], (shares > 0.5)[whole] * 1.0
        )
    held = [(y, p) for y, p in columns if y.any() or (p > 0.5).any()]
    truth = np.concatenate([y for y, _ in columns])
    guess = np.concatenate([p for _, p in columns]) > 0.5
    for name in ("precision", "recall", "f1"):
        function = getattr(metrics, f"{name}_score")
        if held:
            wanted[f"{name}_macro"] = np.mean(
                [function(y, p > 0.5, zero_division=0.0) for y, p in held]
            )
            wanted[f"{name}_micro"] = function(truth, guess, zero_division=0.0)
    assert found == pytest.approx(wanted, abs=1e-9)
    quick = score(targets, shares, task=task)
    names = [name for name in QUICK_METRICS["multilabel"] if name in wanted]
    assert quick == pytest.approx({name: wanted[name] for name in names}, abs=1e-9)


@given(**CASE)
@settings(max_examples=25)
def test_metrics_of_numbers_are_means_over_the_targets_that_define_them(
    make_case, **case
):
    task, targets, outputs = make_case("regression", **case)
    found = score_all(task, targets, outputs)
    parts = {name: [] for name in found}
    for k, rows in enumerate(~np.isnan(targets.T)):
        y, x = targets[rows, k].astype(np.float64), outputs[rows, k]
        if not len(y):
            continue
        parts["mean_absolute_error"].append(metrics.mean_absolute_error(y, x))
        parts["root_mean_squared_error"].append(metrics.root_mean_squared_error(y, x))
        if np.ptp(y):
            parts["r2"].append(metrics.r2_score(y, x))
            if np.ptp(x):
                parts["spearman"].append(stats.spearmanr(y, x).statistic)
    wanted = {name: np.mean(values) for name, values in parts.items()}
    assert found == pytest.approx(wanted, abs=1e-9)


def test_numbers_without_gaps_are_scored_as_scikit_learn_scores_a_table(make_case):
    task, targets, outputs = make_case("regression", 40, 3, 0)
    assert score(targets, outputs, task=task) == pytest.approx(
        {
            "mean_absolute_error": metrics.mean_absolute_error(targets, outputs),
            "root_mean_squared_error": metrics.root_mean_squared_error(
                targets, outputs
            ),
            "r2": metrics.r2_score(targets, outputs),
        },
        rel=1e-6,
    )


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_rows_of_single_names_average_to_the_macro_metrics(make_case, kind):
    task, targets, outputs = make_case(kind, 200, 4, 0)
    rows = score_classes(task, targets, outputs)
    found = score_all(task, targets, outputs)
    assert [row["name"] for row in rows] == list(task.names)
    if kind == "binary":
        for name in ("precision", "recall", "f1", "average_precision"):
            assert rows[1][name] == pytest.approx(found[name])
        return
    if kind == "regression":
        names = dict.fromkeys(found)
        assert [row["support"] for row in rows] == [200] * 4
    else:
        names = {"average_precision": None} | {
            name: f"{name}_macro" for name in ("precision", "recall", "f1")
        }
        assert sum(row["support"] for row in rows) == (
            200 if kind == "multiclass" else targets.sum()
        )
    for name, macro in names.items():
        mean = np.mean([row[name] for row in rows])
        assert found[macro or name] == pytest.approx(mean)


def test_what_is_undefined_is_left_out_and_never_warns():
    binary, labels = Task("binary", ("no", "yes")), Task("multilabel", ("a", "b"))
    numbers = Task("regression", ("x",))
    found = score_all(binary, [0, 0], [[0.9, 0.1], [0.8, 0.2]])
    assert not {"precision", "recall", "f1", "roc_auc", "average_precision"} & set(
        found
    )
    row = score_classes(binary, [0, 0], [[0.9, 0.1], [0.8, 0.2]])[1]
    assert row == {"name": "yes", "support": 0} | dict.fromkeys(
        ("precision", "recall", "f1", "average_precision")
    )
    found = score_all(labels, [[0, np.nan]], [[0.1, 0.5]])
    assert set(found) == {"log_loss", "brier", "expected_calibration_error"}
    assert found["log_loss"] == pytest.approx(-np.log(0.9))
    assert set(score_all(numbers, [[2.0], [2.0]], [[1.0], [2.0]])) <= LOSSES
    assert "spearman" not in score_all(numbers, [[1.0], [2.0]], [[3.0], [3.0]])
    single = Task("multilabel", ("a",))
    assert score_all(single, [[1], [0]], [[0.9], [0.2]])["f1_macro"] == 1.0


def test_labels_are_decided_by_their_own_thresholds():
    task = Task("multilabel", ("a", "b"))
    shares = np.array([[0.3, 0.3], [0.1, 0.9]])
    targets = np.array([[1, 0], [0, 1]])
    assert score_all(task, targets, shares)["f1_micro"] == pytest.approx(2 / 3)
    found = score_all(task, targets, shares, thresholds=[0.2, 0.4])
    assert found["f1_micro"] == found["subset_accuracy"] == 1.0


def test_float32_rows_that_add_up_to_almost_1_are_scored_without_a_warning():
    shares = np.random.default_rng(0).dirichlet(np.ones(9), 50).astype(np.float32)
    assert score(np.arange(50) % 9, shares * np.float32(1 + 1e-4))["log_loss"] > 0


@pytest.mark.parametrize(
    ("kind", "targets", "outputs", "thresholds", "message"),
    [
        ("multiclass", [0], [[2.0, -1.0]], None, "smallest -1 and a row that adds up"),
        ("multiclass", [0], [[2.0, 1.0]], None, "adds up to 3"),
        ("multiclass", [0], [[0.5, 0.5]], [0.5], "1 thresholds, where a multiclass"),
        ("binary", [0], [[0.2, 0.3, 0.5]], None, "for the 2 classes of the task"),
        ("multilabel", [[1]], [[0.5]], None, r"must be \[N, 2\]"),
        ("multilabel", [[1, 2]], [[0.5, 0.5]], None, "found the target 2"),
        ("multilabel", [[1, 0]], [[0.5, 3]], None, "found outputs beyond 0 and 1"),
        ("multilabel", [[1, 0]], [[0.5, 0.5]], [0.5], "1 thresholds, .* has 2"),
        ("multilabel", np.full((3, 2), np.nan), np.zeros((3, 2)), None, "without lab"),
        ("regression", [[1, np.inf]], [[0, 0]], None, "a target that is infinite"),
        ("regression", [[1, 0]], [[0, np.nan]], None, "1 rows .* 1 are not finite"),
        ("regression", [[1, 0]], [[0, 0]], [0.5], "a regression task .* has 0"),
    ],
)
def test_what_does_not_fit_the_task_gets_one_sentence(
    kind, targets, outputs, thresholds, message
):
    with pytest.raises(DatasetError, match=message):
        score_all(Task(kind, ("a", "b")), targets, outputs, thresholds=thresholds)
