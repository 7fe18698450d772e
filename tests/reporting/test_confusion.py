import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from tl_pipeline.reporting.confusion import (
    class_metrics,
    confused_pairs,
    draw_confusion,
)


def test_class_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    targets, guesses = rng.integers(0, 5, (2, 300))
    pairs, counts = np.unique([targets, guesses], axis=1, return_counts=True)
    confusion = np.concatenate([pairs, counts[None]]).T
    rows = class_metrics(confusion, list("abcde"))
    wanted = precision_recall_fscore_support(targets, guesses)
    for key, values in zip(
        ("precision", "recall", "F1", "examples"), wanted, strict=True
    ):
        np.testing.assert_allclose([row[key] for row in rows], values)
    assert [row["class"] for row in rows] == list("abcde")


def test_of_a_class_without_examples_nothing_is_said():
    never, absent = class_metrics([[0, 0, 4], [2, 0, 2], [2, 1, 1]], list("abc"))[1:]
    assert never["recall"] is None  # no target
    assert never["precision"] == 0.0  # predicted once, wrongly
    assert absent["precision"] is None  # never predicted
    assert class_metrics([], ["a"])[0]["F1"] is None


def test_pairs_are_directed_and_the_commonest_comes_first():
    counts = [[0, 0, 9], [0, 1, 1], [1, 0, 5], [1, 1, 5], [2, 1, 2]]
    pairs = confused_pairs(counts, list("abc"), most=2)
    assert pairs == [
        {"target": "b", "predicted": "a", "examples": 5, "share": 0.5},
        {"target": "c", "predicted": "b", "examples": 2, "share": 1.0},
    ]
    assert confused_pairs([[0, 0, 9], [1, 1, 9]], list("ab"), most=5) == []


def test_a_cell_is_shaded_by_its_share_of_the_target():
    drawn = draw_confusion([[0, 0, 3], [0, 1, 1]], ["ants", "bees"])
    assert '<td class="hit" style="--share:0.750" title="ants → ants: 3">3<' in drawn
    assert '<td class="miss" style="--share:0.250" title="ants → bees: 1">1<' in drawn
    assert drawn.count("--share:0.000") == 2  # an empty row is no division by zero
    assert "upright" not in drawn
    assert "upright" in draw_confusion([[0, 0, 1]], ["ants", "butterflies"])
