import numpy as np
import pytest

from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.evaluation import dimensions
from tl_pipeline.evaluation.dimensions import (
    effective_rank,
    find_constant,
    measure_norms,
)

RNG = np.random.default_rng(0)


def test_planted_constant_and_dead_dimensions_are_found():
    features = RNG.standard_normal((20, 8)).astype(np.float16)
    features[:, [2, 5]] = 0
    features[:, 6] = -1.5
    features[1:, 7] = 0  # fires once
    constant, dead = find_constant(features)
    assert (constant.tolist(), dead.tolist()) == ([6], [2, 5])


def test_norms_of_half_floats_do_not_overflow():
    norms = measure_norms(np.full((3, 4), 40_000, np.float16))
    assert norms.max == pytest.approx(80_000)
    assert norms.quantiles["0.05"] == pytest.approx(80_000)


@pytest.mark.parametrize(("n", "width"), [(40, 6), (6, 40)])
def test_directions_of_equal_strength_are_counted(n: int, width: int):
    # Orthonormal columns without a mean, three of them, turned anyhow.
    noise = RNG.standard_normal((n, 3))
    equal, _ = np.linalg.qr(noise - noise.mean(axis=0))
    turned, _ = np.linalg.qr(RNG.standard_normal((width, 3)))
    rank = effective_rank(equal @ turned.T + 5.0, rng=RNG)
    assert rank.effective == pytest.approx(3, rel=1e-5)
    assert rank.limit == min(n - 1, width)


def test_directions_of_unequal_strength_count_by_their_entropy():
    rows = np.array([[3.0, 0], [-3, 0], [0, 1], [0, -1]])  # singular values 3 : 1
    wanted = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert effective_rank(rows, rng=RNG).effective == pytest.approx(wanted)


def test_equal_rows_have_no_rank():
    assert effective_rank(np.full((5, 3), 0.1), rng=RNG).effective == 0
    assert effective_rank(np.zeros((5, 3)), rng=RNG).effective == 0
    assert effective_rank(np.ones((1, 3)), rng=RNG).effective == 0


def test_many_rows_of_many_dimensions_are_drawn_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dimensions, "MOST_ROWS", 10)
    rank = effective_rank(RNG.standard_normal((30, 20)), rng=RNG)
    assert (rank.rows, rank.limit) == (10, 9)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(FeatureShapeError, match=r"got \[0, 3\]"):
        measure_norms(np.empty((0, 3)))
