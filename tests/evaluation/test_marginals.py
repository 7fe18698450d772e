import numpy as np
import pytest
from scipy.stats import ks_2samp

from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.evaluation.marginals import compare_marginals


def test_the_statistic_is_that_of_scipy_and_the_chance_close_to_its_exact_one():
    rng = np.random.default_rng(0)
    older, newer = rng.normal(size=(90, 7)), rng.normal(size=(60, 7))
    newer[:, 4] += 0.5
    newer[:10, 2] = older[:10, 2]  # ties
    found = compare_marginals(older, newer)
    exact = [ks_2samp(older[:, i], newer[:, i]) for i in range(7)]
    worst = int(np.argmax([one.statistic for one in exact]))  # pyright: ignore
    assert found.dimension == worst == 4
    assert found.statistic == pytest.approx(exact[worst].statistic)  # pyright: ignore
    assert found.p_value == pytest.approx(7 * exact[worst].pvalue, rel=0.1)  # pyright: ignore


def test_rows_of_one_distribution_are_told_apart_no_oftener_than_stated():
    rng = np.random.default_rng(1)
    alarms = [
        compare_marginals(rng.normal(size=(80, 20)), rng.normal(size=(40, 20))).p_value
        <= 0.05
        for _ in range(400)
    ]
    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_a_constant_dimension_is_no_difference():
    assert compare_marginals(np.zeros((20, 2)), np.zeros((30, 2))).p_value == 1
    with pytest.raises(FeatureShapeError, match="same D"):
        compare_marginals(np.zeros((20, 2)), np.zeros((30, 3)))
