import numpy as np
import pytest

from tl_pipeline.evaluation import likeness
from tl_pipeline.evaluation.likeness import (
    find_equal_rows,
    find_outliers,
    measure_likeness,
    nearest_rows,
    unit_rows,
)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)


def test_the_nearest_rows_are_those_of_plain_cosines_however_they_are_cut(
    rows: np.ndarray,
):
    cosines = [
        row @ rows[0] / np.linalg.norm(row) / np.linalg.norm(rows[0]) for row in rows
    ]
    wanted = np.argsort(cosines)[::-1][:5]
    for cuts in ([], [1, 2, 30], [25]):
        places, similarity = nearest_rows(rows[0], np.split(rows, cuts), k=5)
        assert places.tolist() == wanted.tolist()
        assert similarity == pytest.approx([cosines[i] for i in wanted], abs=1e-6)


def test_fewer_rows_than_asked_for_are_all_found_and_of_equals_the_first():
    block = np.array([[2.0, 0], [0, 0], [1, 0]])
    places, similarity = nearest_rows(np.array([3.0, 0]), [block], k=9)
    assert places.tolist() == [0, 2, 1]
    assert similarity.tolist() == [1, 1, 0]


@pytest.mark.parametrize("block", [7, 1024])
def test_a_planted_near_duplicate_is_found_and_told_when_it_leaks(
    rows: np.ndarray, block: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(likeness, "_BLOCK", block)
    rows = rows + 100  # all point one way, as rows after a ReLU do
    rows[40] = rows[3] + 0.01
    rows[41] = rows[4] + 0.01
    splits = np.array(["train"] * 50)
    splits[41] = "test"
    like = measure_likeness(rows, splits, above=0.99)
    assert like.pairs.n == 2
    assert sorted(like.pairs.rows.tolist()) == [[3, 40], [4, 41]]
    assert like.across.rows.tolist() == [[4, 41]]
    assert np.flatnonzero(like.involved).tolist() == [3, 4, 40, 41]
    assert (like.pairs.similarity > 0.99).all()


def test_of_very_many_pairs_the_most_alike_are_kept_and_all_are_counted(
    rows: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(likeness, "MOST_PAIRS", 3)
    centered = unit_rows(rows - rows.mean(axis=0))
    cosines = np.sort((centered @ centered.T)[np.triu_indices(50, 1)])[::-1]
    like = measure_likeness(rows, np.zeros(50), above=0.1)
    assert like.pairs.n == (cosines >= 0.1).sum()
    assert like.pairs.similarity == pytest.approx(cosines[:3], abs=1e-6)


def test_a_planted_outlier_is_far_out_and_nothing_else(rows: np.ndarray):
    crowd = rows * 0.1 + np.repeat(np.eye(2, 16), 25, axis=0)
    crowd[8] = -3 * np.eye(16)[9]
    like = measure_likeness(crowd, np.zeros(50), above=0.999, k=3)
    assert find_outliers(like.distance).tolist() == [8]
    cosines = unit_rows(crowd - crowd.mean(axis=0))
    third = np.sort(1 - cosines @ cosines[8])[3]
    assert like.distance[8] == pytest.approx(third, abs=1e-5)


def test_equal_rows_are_grouped():
    rows = np.array([[1.0, 2], [3, 4], [1, 2], [1, 2], [3, 4.5]])
    assert find_equal_rows(rows) == [[0, 2, 3]]


def test_rows_of_any_magnitude_get_length_one():
    rows = np.array([[3e38, 3e38], [1e-40, 0], [0, 0]], np.float32)
    norms = np.linalg.norm(unit_rows(rows), axis=1)
    assert norms == pytest.approx([1, 1, 0])
