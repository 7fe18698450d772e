"""Paired comparison, against scipy, by counting, and at its stated rates."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.paired import (
    SMALLEST_SLICE,
    compare_scores,
    compare_slices,
    gain_p_value,
    sign_test,
)


def pair(better: int, worse: int, same: int) -> tuple[list[int], list[int]]:
    """Returns scores of two heads that differ on so many examples."""
    first = [0] * better + [1] * worse + [1] * same
    second = [1] * better + [0] * worse + [1] * same
    return first, second


@pytest.mark.parametrize(
    ("better", "worse"), [(0, 0), (5, 1), (1, 9), (40, 22), (7, 7)]
)
def test_the_p_value_of_right_and_wrong_is_mcnemars_exact_one(better: int, worse: int):
    first, second = pair(better, worse, same=30)
    found = compare_scores(
        first, second, metric="accuracy", rng=np.random.default_rng(0)
    )
    n = better + worse
    assert (found.better, found.worse) == (better, worse)
    expected = binomtest(better, n, 0.5).pvalue if n else 1.0
    assert found.p_value == pytest.approx(expected, rel=1e-12)
    if n:
        one_sided = binomtest(better, n, 0.5, alternative="greater").pvalue
        assert sign_test(better, worse) == pytest.approx(one_sided, rel=1e-12)


def test_the_interval_is_that_of_resampled_differences():
    first, second = pair(30, 10, same=60)
    found = compare_scores(
        first, second, metric="accuracy", rng=np.random.default_rng(0)
    )
    assert found.first == pytest.approx(0.70)
    assert found.second == pytest.approx(0.90)
    assert found.difference.value == pytest.approx(0.20)
    # What a resample draws of the two kinds of difference is multinomial.
    drawn = np.random.default_rng(1).multinomial(100, [0.3, 0.1, 0.6], 20_000)
    ends = np.quantile((drawn[:, 0] - drawn[:, 1]) / 100, [0.025, 0.975])
    assert found.difference.low == pytest.approx(ends[0], abs=0.015)
    assert found.difference.high == pytest.approx(ends[1], abs=0.015)


def test_examples_of_one_unit_count_as_one_draw():
    first, second = pair(30, 10, same=60)
    alone = compare_scores(first, second, metric="x", rng=np.random.default_rng(0))
    copied = [f"unit {i:03}" for i in range(100)] * 5
    found = compare_scores(
        first * 5,
        second * 5,
        metric="x",
        rng=np.random.default_rng(0),
        units=copied,
    )
    assert (found.n, found.n_units) == (500, 100)
    assert found.p_value == pytest.approx(alone.p_value)
    np.testing.assert_allclose(found.difference, alone.difference)
    taken_apart = compare_scores(
        first * 5, second * 5, metric="x", rng=np.random.default_rng(0)
    )
    assert taken_apart.p_value < found.p_value**3


@pytest.mark.parametrize("level", [0.05, 0.005])
@pytest.mark.parametrize("kind", ["signs", "normal", "heavy"])
def test_interchangeable_heads_pass_a_level_at_most_at_its_rate(
    kind: str, level: float
):
    rng = np.random.default_rng(3)
    n_trials, n = 2000, 80
    draws = {
        "signs": rng.integers(-1, 2, (n_trials, n)).astype(float),
        "normal": rng.normal(size=(n_trials, n)),
        "heavy": rng.standard_t(2, (n_trials, n)),
    }[kind]
    passed = np.mean([gain_p_value(row) <= level for row in draws])
    assert passed <= level + 3 * np.sqrt(level / n_trials)
    if kind == "signs":  # exact, so it is not far below either
        assert passed > level / 3


def test_a_squared_error_is_compared_too_and_a_real_gain_is_seen():
    rng = np.random.default_rng(0)
    errors = rng.normal(size=400) ** 2
    found = compare_scores(-errors, -0.5 * errors, metric="r2", rng=rng)
    assert found.difference.low > 0
    assert gain_p_value(0.5 * errors) < 1e-6
    assert gain_p_value(-0.5 * errors) == 1.0


def test_slices_come_worst_first_and_small_ones_last():
    first, second = [], []
    groups: list[str | None] = []
    for name, (better, worse) in {"a": (5, 0), "b": (0, 5), "small": (0, 3)}.items():
        n = 10 if name == "small" else 40
        ours, theirs = pair(better, worse, n - better - worse)
        first += ours
        second += theirs
        groups += [name] * n
    groups += [None]
    slices = compare_slices(
        [*first, 1],
        [*second, 0],
        groups,
        metric="accuracy",
        rng=np.random.default_rng(0),
    )
    assert [(s.name, s.paired.n, s.enough) for s in slices] == [
        ("b", 40, True),
        ("a", 40, True),
        ("small", 10, False),
    ]
    assert 10 < SMALLEST_SLICE <= 40
    assert slices[0].paired.difference.value == pytest.approx(-5 / 40)
    assert json.loads(json.dumps(slices[0].to_json()))["slice"] == "b"


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [([], [], r"\[0\]"), ([1], [1, 0], r"\[1\] and \[2\]"), ([1], [np.nan], "finite")],
)
def test_scores_that_cannot_be_compared_are_refused(first, second, found: str):
    with pytest.raises(DatasetError, match=found):
        compare_scores(first, second, metric="x", rng=np.random.default_rng(0))
