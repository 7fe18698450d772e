"""Slices: each group as if scored alone, the worst first, and what groups differ in."""

import json

import numpy as np
import pytest
from sklearn import metrics

from tl_pipeline.evaluation.metrics import score_all
from tl_pipeline.evaluation.slices import group_differences, score_slices
from tl_pipeline.tasks import TASK_KINDS, Task


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_slice_is_scored_as_its_examples_alone_are(make_case, kind):
    missing = 0.1 if kind in ("multilabel", "regression") else 0.0
    task, targets, outputs = make_case(kind, 120, 3, 0, missing=missing)
    groups = np.array(["a", "b", "b"] * 40)
    found = score_slices(
        task, targets, outputs, list(groups), rng=np.random.default_rng(0)
    )
    assert {one.group: one.n for one in found} == {"a": 40, "b": 80}
    for one in found:
        rows = groups == one.group
        wanted = score_all(task, targets[rows], outputs[rows])
        assert {k: v.value for k, v in one.metrics.items()} == pytest.approx(wanted)
    json.dumps([one.to_json() for one in found], allow_nan=False)


def binary_case(
    groups: dict[str, tuple[int, float]],
) -> tuple[Task, np.ndarray, np.ndarray, list[str]]:
    """Makes groups of a size of which a share is right."""
    names, targets, positive = [], [], []
    for name, (n, right) in groups.items():
        for i in range(n):
            truth = i % 2
            is_right = (i // 2) < right * n / 2
            names.append(name)
            targets.append(truth)
            positive.append(0.9 if truth == is_right else 0.1)
    shares = np.column_stack([1 - np.array(positive), positive])
    return Task("binary", ("no", "yes")), np.array(targets), shares, names


def test_the_worst_slice_is_first_and_those_too_small_to_say_are_last_and_told():
    task, targets, shares, groups = binary_case(
        {"tiny": (29, 0.0), "good": (400, 0.95), "wide": (30, 0.5), "bad": (400, 0.7)}
    )
    found = score_slices(task, targets, shares, groups, rng=np.random.default_rng(0))
    assert [one.group for one in found] == ["bad", "good", "wide", "tiny"]
    assert [one.unsure is None for one in found] == [True, True, False, False]
    assert found[2].unsure and "accuracy is known within 0.3" in found[2].unsure
    assert found[3].unsure == "29 examples, fewer than 30"
    assert not found[3].metrics


def test_of_numbers_the_slice_of_the_largest_error_is_the_worst():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=(900, 1)) * np.repeat([1, 3, 2], 300)[:, None]
    groups = list("a" * 300 + "c" * 300 + "b" * 300)
    task = Task("regression", ("x",))
    found = score_slices(task, np.zeros((900, 1)), errors, groups, rng=rng)
    assert [one.group for one in found] == ["c", "b", "a"]


def test_differences_are_those_of_fairlearns_definitions():
    rng = np.random.default_rng(0)
    groups, targets = rng.choice(list("abc"), 900), rng.integers(0, 2, 900)
    lean = {"a": 0.0, "b": 0.2, "c": -0.2}
    positive = np.clip(
        0.3 + 0.3 * targets + [lean[g] for g in groups] + rng.normal(size=900) / 4, 0, 1
    )
    shares, guess = np.column_stack([1 - positive, positive]), positive > 0.5
    task = Task("binary", ("no", "yes"))
    (found,) = group_differences(task, targets, shares, groups.tolist())
    # fairlearn's rates are recalls: of the yes, and of the no, one less.
    by_group = [(targets[groups == g], guess[groups == g]) for g in "abc"]
    selected = [g.mean() for _, g in by_group]
    hit = [metrics.recall_score(y, g) for y, g in by_group]
    alarm = [1 - metrics.recall_score(y, g, pos_label=0) for y, g in by_group]
    wrong = [1 - metrics.accuracy_score(y, g) for y, g in by_group]
    assert found == {
        "name": "yes",
        "demographic_parity_difference": pytest.approx(np.ptp(selected)),
        "demographic_parity_ratio": pytest.approx(min(selected) / max(selected)),
        "equalized_odds_difference": pytest.approx(max(np.ptp(hit), np.ptp(alarm))),
        "equalized_odds_ratio": pytest.approx(
            min(min(hit) / max(hit), min(alarm) / max(alarm))
        ),
        "error_difference": pytest.approx(np.ptp(wrong)),
    }


def test_a_rate_of_few_examples_counts_nowhere():
    task, targets, shares, groups = binary_case(
        {"small": (29, 0.0), "one": (100, 0.9), "two": (40, 0.8)}
    )
    (found,) = group_differences(task, targets, shares, groups)
    assert found["error_difference"] == pytest.approx(0.1)
    assert found["equalized_odds_difference"] is None  # "two" has 20 of each class
    (found,) = group_differences(task, targets, shares, ["one"] * len(targets))
    assert found == {"name": "yes"} | dict.fromkeys(
        found.keys() - {"name"}
    )  # one group is apart from none


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression"])
def test_each_class_label_or_column_is_compared_by_itself(make_case, kind):
    task, targets, outputs = make_case(kind, 400, 3, 0)
    groups = ["a", "b"] * 200
    found = group_differences(task, targets, outputs, groups)
    assert [row["name"] for row in found] == list(task.names)
    if kind == "regression":
        errors = np.abs(targets - outputs)
        wanted = np.abs(errors[::2].mean(axis=0) - errors[1::2].mean(axis=0))
    else:
        guess = outputs > 0.5
        if kind == "multiclass":
            guess = np.eye(3)[outputs.argmax(axis=1)] == 1
            targets = np.eye(3)[targets]
        wrong = guess != targets
        wanted = np.abs(wrong[::2].mean(axis=0) - wrong[1::2].mean(axis=0))
    assert [row["error_difference"] for row in found] == pytest.approx(wanted.tolist())
