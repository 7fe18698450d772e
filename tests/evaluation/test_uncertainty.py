"""Intervals: each resample is scored as scikit-learn would, and truth is covered."""

import numpy as np
import pytest

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation import uncertainty
from tl_pipeline.evaluation.metrics import METRICS, score
from tl_pipeline.evaluation.uncertainty import bootstrap_intervals, paired_difference


def planted(
    n: int, n_classes: int, rng: np.random.Generator, sharpness: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Targets drawn from probabilities that are told: calibrated by construction."""
    logits = rng.normal(size=(n, n_classes)) * sharpness
    powers = np.exp(logits)
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    drawn = (rng.random((n, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    return np.minimum(drawn, n_classes - 1), probabilities


def test_intervals_are_the_quantiles_of_rescored_resamples():
    # Few examples of six classes: most resamples lack a class altogether.
    targets, probabilities = planted(12, 6, np.random.default_rng(0))
    found = bootstrap_intervals(
        targets, probabilities, rng=np.random.default_rng(1), n_resamples=200
    )
    rows = np.random.default_rng(1).integers(0, 12, (200, 12))
    expected = [score(targets[drawn], probabilities[drawn]) for drawn in rows]
    values = score(targets, probabilities)
    assert tuple(found) == METRICS
    for name in METRICS:
        ends = np.quantile([entry[name] for entry in expected], [0.025, 0.975])
        assert found[name] == pytest.approx((values[name], *ends), abs=1e-12)


def test_intervals_do_not_depend_on_how_resamples_are_held(monkeypatch):
    targets, probabilities = planted(50, 3, np.random.default_rng(0))
    at_once = bootstrap_intervals(
        targets, probabilities, rng=np.random.default_rng(1), n_resamples=40
    )
    monkeypatch.setattr(uncertainty, "_COUNTS_AT_ONCE", 7 * 50)
    in_parts = bootstrap_intervals(
        targets, probabilities, rng=np.random.default_rng(1), n_resamples=40
    )
    assert in_parts == at_once


def test_intervals_cover_the_truth_at_their_stated_rate():
    rng = np.random.default_rng(0)
    targets, probabilities = planted(200_000, 3, rng)
    truth = score(targets, probabilities)
    covered = dict.fromkeys(METRICS, 0)
    for _ in range(200):
        rows = rng.integers(0, len(targets), 200)
        found = bootstrap_intervals(
            targets[rows], probabilities[rows], rng=rng, n_resamples=200
        )
        for name, interval in found.items():
            covered[name] += interval.low <= truth[name] <= interval.high
    # 95 % of 200 is 190, give or take 3.1; percentile intervals of 200 skewed values
    # run a point or two short.
    for name in METRICS:
        assert 180 <= covered[name] <= 198, (name, covered)


def test_paired_differences_cover_the_truth_over_examples_and_seeds():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        easy = rng.normal(size=(1, 150))  # an example is easy for both
        ours, theirs = (
            easy + rng.normal(size=(3, 150)) > threshold for threshold in (-1.0, -0.6)
        )
        # P(N(0, 2) > t) = 0.76025 and 0.66431.
        found = paired_difference(ours, theirs, rng=rng, n_resamples=300)
        covered += found.low <= 0.76025 - 0.66431 <= found.high
    assert 276 <= covered  # 95 % is 285, give or take 3.8


def test_what_is_common_to_both_cancels():
    rng = np.random.default_rng(0)
    theirs = rng.random(400) < 0.5
    ours = theirs.copy()
    ours[:20] = True
    paired = paired_difference(ours, theirs, rng=rng)
    assert paired.value == pytest.approx((~theirs[:20]).sum() / 400)
    # Unpaired, two accuracies near 0.5 of 400 differ by 0.07 by chance.
    assert paired.low > 0
    assert paired.high < 0.05


def test_equal_predictions_differ_by_exactly_nothing():
    right = np.random.default_rng(0).random((3, 40)) < 0.7
    found = paired_difference(right, right, rng=np.random.default_rng(1))
    assert found == (0, 0, 0)


@pytest.mark.parametrize(
    ("ours", "theirs"), [([True], [True, False]), ([[True]] * 2, [True]), ([], [])]
)
def test_predictions_of_other_examples_cannot_be_compared(ours, theirs):
    with pytest.raises(DatasetError, match="same seeds and examples"):
        paired_difference(ours, theirs, rng=np.random.default_rng(0))
