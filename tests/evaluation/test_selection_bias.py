import numpy as np
import pytest

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.selection_bias import corrected_score


def test_the_best_of_many_guessers_is_found_out():
    # All candidates guess: the best one looks better than it is.
    rng = np.random.default_rng(0)
    right = (rng.random((60, 100)) < 0.5).astype(float)
    best = right.mean(axis=1).max()
    found = corrected_score(1 - right, right, rng=np.random.default_rng(1))
    assert best > 0.6
    assert 0.4 < found.value < best - 0.05
    assert found.low < 0.5 < found.high


def test_a_candidate_that_is_truly_better_keeps_its_score():
    rng = np.random.default_rng(0)
    right = (rng.random((5, 400)) < [[0.5], [0.5], [0.9], [0.5], [0.5]]).astype(float)
    found = corrected_score(1 - right, right, rng=np.random.default_rng(1))
    assert found.value == pytest.approx(right[2].mean(), abs=0.01)


def test_over_many_datasets_it_is_right_on_average():
    # The truth of every candidate is 0.5; the plain best is far above on average.
    plain, corrected = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        right = (rng.random((20, 80)) < 0.5).astype(float)
        plain.append(right.mean(axis=1).max())
        corrected.append(
            corrected_score(1 - right, right, rng=rng, n_resamples=200).value
        )
    assert np.mean(plain) > 0.58
    assert np.mean(corrected) == pytest.approx(0.5, abs=0.02)


def test_what_cannot_be_resampled_is_refused():
    with pytest.raises(DatasetError, match=r"\[1, 1\]"):
        corrected_score([[1.0]], [[1.0]], rng=np.random.default_rng(0))
