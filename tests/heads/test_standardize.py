"""Standardization: statistics that hold at any scale, fitted once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.preprocessing import StandardScaler

from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer

matrices = arrays(
    np.float32,
    st.tuples(st.integers(1, 12), st.integers(1, 5)),
    elements=st.integers(-1000, 1000).map(lambda value: value / 8),
)


@given(matrices)
def test_standardized_features_are_those_of_scikit_learn(features: np.ndarray):
    expected = StandardScaler().fit_transform(features.astype(np.float64))
    found = apply_standardizer(fit_standardizer(features), features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_stray_last_bit_of_float16_is_no_feature():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1000, 3)).astype(np.float16)
    features[:, 1] = 0
    features[7, 1] = np.float16(2**-24)  # the smallest that there is
    assert 0 < features[:, 1].std(dtype=np.float64) < 1e-8
    assert fit_standardizer(features).scale[1] == 1
    # As float32 keeps them, features as small as that may be all that there is.
    tiny = np.float32(1e-9) * rng.normal(size=(1000, 3)).astype(np.float32)
    np.testing.assert_allclose(fit_standardizer(tiny).scale, tiny.std(axis=0), rtol=0.1)


def test_a_constant_feature_becomes_zero_at_any_magnitude():
    features = np.full((1000, 3), [0.1, 1e4 / 3, 0.0])  # their float64 std is not 0
    assert fit_standardizer(features).scale.tolist() == [1, 1, 1]
    assert not apply_standardizer(fit_standardizer(features), features).any()


def test_statistics_are_summed_in_float64():
    # Summed in float32 row by row, this mean is off by 3e-3.
    features = np.full((400_000, 2), [100.1, -100.1], np.float32)
    np.testing.assert_allclose(fit_standardizer(features).mean, features[0], rtol=1e-7)


def test_float16_features_are_not_squared_in_float16():
    features = np.array([[400.0], [-400.0]], np.float16)
    assert fit_standardizer(features).scale.tolist() == [400]


def test_one_example_does_not_change_with_its_batch():
    rng = np.random.default_rng(0)
    standardizer = fit_standardizer(rng.normal(size=(50, 4)))
    rows = rng.normal(size=(7, 4))
    together = apply_standardizer(standardizer, rows)
    alone = [apply_standardizer(standardizer, row[None])[0] for row in rows]
    np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 2, 2)])
def test_only_rows_of_features_can_be_fitted(shape: tuple[int, ...]):
    with pytest.raises(FeatureShapeError, match=r"\[N, D\] with N > 0, got \["):
        fit_standardizer(np.zeros(shape))


def test_features_of_another_width_are_refused():
    standardizer = fit_standardizer(np.eye(3))
    with pytest.raises(FeatureShapeError, match=r"3 features a row, .* \[2, 4\]"):
        apply_standardizer(standardizer, np.zeros((2, 4)))
