import numpy as np
import pytest
from scipy import linalg

from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.evaluation.drift import (
    MOST_ROWS,
    frechet_distance,
    measure_drift,
    standardized_shift,
)


def draw(n: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, width)) @ rng.standard_normal((width, width))


@pytest.mark.parametrize(("n", "m"), [(300, 200), (5, 7), (300, 4)])
def test_the_distance_is_that_of_the_textbook(n: int, m: int):
    a, b = draw(n, 12, 0), draw(m, 12, 1) + 0.5
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root_a = linalg.sqrtm(cov_a + 1e-14 * np.eye(12))
    inner = linalg.sqrtm(root_a @ cov_b @ root_a + 1e-14 * np.eye(12))
    mean = a.mean(axis=0) - b.mean(axis=0)
    wanted = mean @ mean + np.trace(cov_a + cov_b - 2 * np.real(inner))
    # The root of a singular matrix is good to the root of a rounding error.
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-4)


def test_of_gaussians_along_the_axes_the_distance_is_that_of_means_and_deviations():
    a = np.array([[-1.0, -2.0], [1.0, -2.0], [-1.0, 2.0], [1.0, 2.0]])
    scale = np.sqrt(4 / 3)  # of the unbiased covariance
    b = a * [3.0, 1.0] + [0.0, 5.0]
    assert frechet_distance(a, b) == pytest.approx(25 + (2 * scale) ** 2)


def test_the_distance_of_rows_and_themselves_is_zero():
    a = draw(50, 80, 0)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-8)


def test_the_shift_is_in_pooled_standard_deviations():
    a, b = np.array([[0.0], [2.0], [4.0]]), np.array([[10.0], [16.0]])
    pooled = np.sqrt((2 * 4 + 1 * 18) / 3)
    assert standardized_shift(a, b).tolist() == pytest.approx([(13 - 2) / pooled])


def test_constant_dimensions_have_no_shift_or_an_infinite_one():
    a = np.array([[0.1, 0.0, 1.0], [0.1, 0.0, 1.0], [0.1, 0.0, 1.0]])
    b = np.array([[0.1, 0.0, 0.5], [0.1, 0.0, 0.5]])
    assert standardized_shift(a, b).tolist() == [0, 0, -np.inf]
    drift = measure_drift(a, b, rng=np.random.default_rng(0))
    assert drift and drift.jumped == 1 and drift.mean_shift == 0
    assert drift.exceeds_noise


def test_a_planted_shift_is_beyond_noise_and_another_draw_is_not():
    a, b = draw(400, 20, 0), draw(400, 20, 0)
    b = np.concatenate([b[:200], draw(200, 20, 0)])
    rng = np.random.default_rng(0)
    still = measure_drift(a[:300], a[100:], rng=rng)
    assert still and not still.exceeds_noise
    moved = a.copy()
    moved[:, 7] -= 2 * a[:, 7].std()
    drift = measure_drift(a, moved, rng=rng)
    assert drift and drift.exceeds_noise
    assert drift.dimension == 7
    assert drift.largest_shift == pytest.approx(-2, rel=0.01)
    assert drift.mean_shift == pytest.approx(2 / np.sqrt(20), rel=0.01)


def test_of_more_rows_than_are_compared_the_same_ones_are_at_distance_zero():
    rows = np.random.default_rng(0).standard_normal((MOST_ROWS + 50, 2))
    drift = measure_drift(rows, rows, rng=np.random.default_rng(0), n_halvings=1)
    assert drift and drift.frechet == 0


def test_few_rows_have_no_noise_and_one_row_no_drift():
    rng = np.random.default_rng(0)
    drift = measure_drift(draw(3, 4, 0), draw(9, 4, 1), rng=rng)
    assert drift and drift.frechet_noise is None and drift.exceeds_noise is None
    assert measure_drift(draw(1, 4, 0), draw(9, 4, 1), rng=rng) is None


def test_other_dimensions_are_refused():
    with pytest.raises(FeatureShapeError, match=r"\[5, 3\] and \[5, 4\]"):
        frechet_distance(draw(5, 3, 0), draw(5, 4, 0))
