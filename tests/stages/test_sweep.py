"""Cross-validation inside train: nothing is scored by a head that saw it."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tl_pipeline.evaluation.folds import assign_folds
from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.stages.choosing import choose_rows
from tl_pipeline.stages.labeled import Labeled
from tl_pipeline.stages.sweep import sweep
from tl_pipeline.tasks import Task


def labeled(features: np.ndarray, targets: np.ndarray, n_train: int) -> Labeled:
    n = len(features)
    rng = np.random.default_rng(0)
    splits = np.array(["train"] * n_train + ["test"] * (n - n_train), object)
    return Labeled(
        feature="pool",
        task=Task("multiclass", tuple(map(str, range(int(targets.max()) + 1)))),
        ids=tuple(f"{row:05d}" for row in range(n)),
        content=rng.integers(0, 256, (n, 32), dtype=np.uint8),
        splits=splits,
        groups=(None,) * n,
        features=features.astype(np.float32),
        targets=targets.astype(np.int64),
        weight=None,
        n_failed=0,
    )


def cross_validate(data: Labeled, l2: list[float], *, n_folds: int):
    choosing = choose_rows(data, method="cv", n_folds=n_folds)
    settings = [{"l2": strength} for strength in l2]
    return [c.scores for c in sweep(data, "linear", settings, choosing=choosing)]


def test_every_strength_is_scored_as_scikit_learn_fold_by_fold_would():
    features, targets = (array[:400] for array in load_digits(return_X_y=True))
    data = labeled(features, targets, 300)
    l2 = [1.0, 1e-2]
    scores = cross_validate(data, l2, n_folds=3)
    train, truth = features[:300], targets[:300]
    train = apply_standardizer(fit_standardizer(train), train).astype(np.float64)
    folds = assign_folds(truth, data.content[:300], n_folds=3)
    for strength, found in zip(l2, scores, strict=True):
        expected = np.empty((300, 10))
        for fold in range(3):
            kept = folds != fold
            c = sklearn_c(strength, kept.sum())
            oracle = LogisticRegression(C=c, tol=1e-8, max_iter=2000)
            oracle.fit(train[kept], truth[kept])
            expected[~kept] = oracle.predict_proba(train[~kept])
        assert found["log_loss"] == pytest.approx(log_loss(truth, expected), rel=1e-3)
        accuracy = np.mean(expected.argmax(axis=1) == truth)
        assert found["accuracy"] == pytest.approx(accuracy, abs=1 / 300)


def test_labels_learned_by_heart_are_worth_nothing():
    # Every example has a feature of its own: who saw it knows its label.
    targets = np.random.default_rng(1).integers(0, 2, 120)
    data = labeled(np.eye(120), targets, 120)
    (scores,) = cross_validate(data, [1e-4], n_folds=4)
    assert scores["accuracy"] < 0.65


def test_groups_learned_by_heart_are_worth_nothing():
    # Four examples a group, alike and of one random label.
    targets = np.random.default_rng(2).integers(0, 2, 40).repeat(4)
    data = labeled(np.eye(40).repeat(4, axis=0), targets, 160)
    groups = tuple(f"patient {row // 4}" for row in range(160))
    (leaking,) = cross_validate(data, [1e-4], n_folds=4)
    data = dataclasses.replace(data, groups=groups)
    (honest,) = cross_validate(data, [1e-4], n_folds=4)
    assert leaking["accuracy"] > 0.9
    assert honest["accuracy"] < 0.7


def test_the_test_split_changes_nothing():
    features, targets = (array[:200] for array in load_digits(return_X_y=True))
    data = labeled(features, targets, 150)
    changed = features.copy()
    changed[150:] = 1e3
    again = labeled(changed, np.concatenate([targets[:150], targets[50:100]]), 150)
    assert cross_validate(data, [0.1], n_folds=3) == cross_validate(
        again, [0.1], n_folds=3
    )


def test_heads_are_chosen_on_val_only_where_there_is_enough_of_it():
    features, targets = (array[:400] for array in load_digits(return_X_y=True))
    data = labeled(features, targets, 300)

    def with_val(n: int) -> Labeled:
        splits = data.splits.copy()
        splits[:n] = "val"
        return dataclasses.replace(data, splits=splits)

    assert choose_rows(with_val(60)).method == "val"
    few = choose_rows(with_val(49))
    assert (few.method, few.n_folds, len(few.rows)) == ("cv", 5, 251)
    assert "validation has 49 examples, fewer than 50" in few.describe()["sentence"]
    assert "no validation example" in choose_rows(data).reason
    assert choose_rows(with_val(49), method="val").method == "val"
    lacking = with_val(60)
    lacking.targets[:60] = np.where(targets[:60] == 7, 0, targets[:60])
    assert choose_rows(lacking).reason == "validation has no example of 7"


def test_each_fold_head_is_scored_on_its_own_fold_and_all_of_train_makes_the_head():
    features, targets = (array[:200] for array in load_digits(return_X_y=True))
    data = labeled(features, targets, 150)
    choosing = choose_rows(data, method="cv", n_folds=3)
    (candidate,) = sweep(data, "linear", [{"l2": 0.1}], choosing=choosing)
    by_val = choose_rows(
        dataclasses.replace(
            data, splits=np.where(data.splits == "test", "val", "train")
        )
    )
    assert by_val.method == "val"
    (plain,) = sweep(data, "linear", [{"l2": 0.1}], choosing=by_val)
    same = np.abs(plain.head.arrays["kernel"] - candidate.head.arrays["kernel"])
    assert same.max() < 1e-2
    assert candidate.outputs.shape == (150, 10)
    seen = candidate.head.predict(data.features[:150])
    truth = data.targets[:150]
    rows = np.arange(150)
    # By heads that saw an example it is believed more.
    assert seen[rows, truth].mean() > candidate.outputs[rows, truth].mean() + 0.05
