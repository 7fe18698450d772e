import numpy as np
import pytest
from sklearn.decomposition import PCA

from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads.preparation import (
    Preparation,
    Steps,
    apply_preparation,
    fit_preparation,
)


def make_rows(n: int = 60, width: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, width)) @ rng.normal(size=(width, width)) + 3).astype(
        np.float32
    )


def test_rows_of_unit_length_keep_their_direction_and_zeros_stay():
    rows = make_rows()
    rows[0] = 0
    steps = Steps(unit_length=True, standardize=False)
    found = apply_preparation(fit_preparation(rows, steps), rows)
    np.testing.assert_allclose(np.linalg.norm(found[1:], axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found[0], 0)


@pytest.mark.parametrize(("n", "width"), [(60, 8), (6, 20)])
@pytest.mark.parametrize("projection", ["pca", "whiten"])
def test_axes_are_those_of_scikit_learn(n, width, projection):
    rows = make_rows(n, width)
    steps = Steps(standardize=False, projection=projection, n_components=4)
    found = apply_preparation(fit_preparation(rows, steps), rows)
    oracle = PCA(4, whiten=projection == "whiten", svd_solver="full").fit(rows)
    expected = oracle.transform(rows)
    if projection == "whiten":  # scikit-learn divides by n - 1
        expected *= np.sqrt(n / (n - 1))
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=2e-4)


def test_a_share_of_the_variance_decides_how_many_axes_there_are():
    rows = make_rows()
    steps = Steps(projection="pca", n_components=0.9)
    kept = apply_preparation(fit_preparation(rows, steps), rows).shape[1]
    standardized = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    assert kept == PCA(0.9, svd_solver="full").fit(standardized).n_components_


def test_axes_that_are_rounding_are_left_out():
    rows = make_rows()
    rows = np.concatenate([rows, rows[:, :3] * 2], axis=1)
    steps = Steps(standardize=False, projection="whiten")
    found = apply_preparation(fit_preparation(rows, steps), rows)
    assert found.shape[1] == 8
    np.testing.assert_allclose(found.var(axis=0), 1, rtol=1e-3)
    same = np.ones((5, 4), np.float32)
    assert np.isfinite(apply_preparation(fit_preparation(same, steps), same)).all()


def test_tokens_are_prepared_one_by_one():
    tokens = make_rows(60).reshape(12, 5, 8)
    steps = Steps(unit_length=True, projection="pca", n_components=3)
    found = apply_preparation(fit_preparation(tokens, steps), tokens)
    flat = tokens.reshape(60, 8)
    expected = apply_preparation(fit_preparation(flat, steps), flat)
    np.testing.assert_array_equal(found, expected.reshape(12, 5, 3))


def test_a_preparation_saved_and_loaded_is_the_same():
    rows = make_rows()
    fitted = fit_preparation(rows, Steps(unit_length=True, projection="whiten"))
    loaded = Preparation.from_arrays(fitted.steps, fitted.to_arrays())
    np.testing.assert_array_equal(
        apply_preparation(loaded, rows), apply_preparation(fitted, rows)
    )
    with pytest.raises(FeatureShapeError, match="project rows of 8|standardize 8"):
        apply_preparation(loaded, rows[:, :5])


@pytest.mark.parametrize("n_components", [-1, 2.5])
def test_a_number_of_axes_that_cannot_be_is_refused(n_components):
    with pytest.raises(ConfigError, match="principal components"):
        Steps(projection="pca", n_components=n_components)
