import numpy as np
import pytest

from tl_pipeline.evaluation.suspects import (
    assign_folds,
    find_suspects,
    predict_held_out,
)


def test_suspects_follow_from_the_thresholds_of_the_paper():
    targets = [0, 0, 0, 1, 1]
    shares = [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]
    # Thresholds: 0.6 for class 0, 0.65 for class 1. The third example, labeled 0, is
    # confidently 1; the last one is confidently nothing.
    found = find_suspects(targets, shares)
    assert found.rows.tolist() == [2]
    assert found.suggested.tolist() == [1]
    assert found.confidence.tolist() == [0.2]


def test_a_class_that_models_are_unsure_of_needs_less_probability():
    targets = [0, 0, 1, 1, 0]
    shares = [[0.95, 0.05], [0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.6, 0.4]]
    # The likeliest class of every example is 0, yet 1's threshold is 0.35.
    assert find_suspects(targets, shares).rows.tolist() == [4]


def test_the_least_believed_label_comes_first():
    targets = [0, 0, 0, 0, 0, 0, 1, 1]
    own = [0.9, 0.9, 0.9, 0.9, 0.2, 0.1, 0.1, 0.1]
    shares = np.stack([own, 1 - np.array(own)], axis=1)
    found = find_suspects(targets, shares)
    assert found.rows.tolist() == [5]
    shares[4] = [0.05, 0.95]
    assert find_suspects(targets, shares).rows.tolist() == [4, 5]


def test_folds_deal_every_class_evenly_and_keep_units_whole():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 103)
    units = [i // 2 for i in range(103)]
    folds = assign_folds(targets, units, n_folds=5, rng=rng)
    assert all(len({folds[i] for i in range(103) if units[i] == u}) == 1 for u in units)
    alone = assign_folds(targets, range(103), n_folds=5, rng=rng)
    for target in range(3):
        counts = np.bincount(alone[targets == target], minlength=5)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("width", [8, 400])  # with and without components
def test_a_planted_wrong_label_is_found_first(width: int):
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(3), 100)
    centers = 10 * rng.standard_normal((3, width)) / np.sqrt(width)
    features = centers[targets] + rng.standard_normal((300, width)) * 0.3
    features[:, 0] = 7.0  # constant
    targets[42] = 2
    folds = assign_folds(targets, range(300), n_folds=5, rng=rng)
    shares = predict_held_out(features, targets, folds, n_classes=4, seed=0)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert not shares[:, 3].any()  # a class without an example
    found = find_suspects(targets, shares)
    assert found.rows[0] == 42 and found.suggested[0] == 0
    assert len(found.rows) <= 3
    again = predict_held_out(features, targets, folds, n_classes=4, seed=0)
    np.testing.assert_array_equal(again, shares)


def test_a_prediction_has_not_seen_its_own_label():
    rng = np.random.default_rng(1)
    features, targets = rng.standard_normal((60, 200)), rng.integers(0, 2, 60)
    folds = assign_folds(targets, range(60), n_folds=5, rng=rng)
    shares = predict_held_out(features, targets, folds, n_classes=2, seed=0)
    # Noise that is learned by heart would be right always.
    assert (shares.argmax(axis=1) == targets).mean() < 0.75


def test_folds_that_leave_one_class_predict_nothing():
    shares = predict_held_out(
        np.eye(4), [0, 0, 0, 1], [0, 1, 2, 3], n_classes=2, seed=0
    )
    assert np.isnan(shares[3]).all()
    assert np.isfinite(shares[:3]).all()
