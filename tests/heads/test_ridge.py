"""Ridge heads: scikit-learn's coefficients, and errors left one out as if refitted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import log_loss

from tl_pipeline.errors import ConfigError, DatasetError, FeatureShapeError
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.links import softmax
from tl_pipeline.heads.preparation import Preparation, Steps
from tl_pipeline.heads.ridge import fit_ridge, fit_ridge_classifier
from tl_pipeline.heads.temperature import fit_scale
from tl_pipeline.tasks import Task


def make_rows(n: int = 50, width: int = 8, k: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, width)).astype(np.float32)
    targets = features[:, :1] * np.arange(1, k + 1) + rng.normal(size=(n, k)) + 5
    return features, targets, rng.uniform(0.2, 3, n)


def refit(features, targets, weights, l2):
    fitted = Ridge(alpha=l2 * weights.sum(), solver="svd")
    return fitted.fit(features, targets, sample_weight=weights)


@pytest.mark.parametrize(("n", "width"), [(50, 8), (12, 40)])
def test_it_is_the_ridge_of_scikit_learn_at_alpha_of_l2_times_n(n, width):
    features, targets, weights = make_rows(n, width)
    strengths = [1e-4, 0.1, 10]
    heads = fit_ridge(features, targets, l2=strengths, sample_weight=weights)
    for i, l2 in enumerate(strengths):
        oracle = refit(features, targets, weights, l2)
        np.testing.assert_allclose(heads.kernel[i].T, oracle.coef_, atol=1e-5)
        np.testing.assert_allclose(heads.bias[i], oracle.intercept_, atol=1e-5)


@pytest.mark.parametrize(("n", "width"), [(40, 6), (10, 30)])
def test_errors_left_one_out_are_those_of_ridge_cv(n, width):
    features, targets, _ = make_rows(n, width)
    strengths = np.array([1e-3, 0.1, 1.0])
    oracle = RidgeCV(alphas=strengths * n, store_cv_results=True)
    oracle.fit(features.astype(np.float64), targets)
    expected = oracle.cv_results_.mean(axis=(0, 1))
    heads = fit_ridge(features, targets, l2=strengths)
    np.testing.assert_allclose(heads.leave_one_out, expected, rtol=1e-5)


def test_a_weighted_error_left_one_out_is_that_of_a_fit_without_the_row():
    features, targets, weights = make_rows(12, 20)
    weights[3] = 0
    found = fit_ridge(features, targets, l2=[0.05], sample_weight=weights)
    alpha, errors = 0.05 * weights.sum(), []
    for row in range(12):
        kept = np.arange(12) != row
        oracle = Ridge(alpha=alpha, solver="svd")
        oracle.fit(features[kept], targets[kept], sample_weight=weights[kept])
        errors.append((oracle.predict(features[[row]])[0] - targets[row]) ** 2)
    expected = np.average(np.mean(errors, axis=1), weights=weights)
    np.testing.assert_allclose(found.leave_one_out, expected, rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(2, 12), width=st.integers(1, 12), k=st.integers(1, 4), data=st.data()
)
def test_a_missing_target_is_as_if_its_row_were_not_there(n, width, k, data):
    features, targets, weights = make_rows(n, width, k)
    missing = data.draw(
        st.lists(st.tuples(st.integers(1, n - 1), st.integers(0, k - 1)), max_size=8)
    )
    for row, column in missing:
        targets[row, column] = np.nan
    heads = fit_ridge(features, targets, l2=[0.3], sample_weight=weights)
    for column in range(k):
        kept = np.isfinite(targets[:, column])
        oracle = refit(features[kept], targets[kept, column], weights[kept], 0.3)
        np.testing.assert_allclose(heads.kernel[0, :, column], oracle.coef_, atol=1e-5)
        np.testing.assert_allclose(heads.bias[0, column], oracle.intercept_, atol=1e-5)


def test_folds_as_rows_of_weights_are_fits_without_the_fold():
    features, targets, _ = make_rows(30)
    kept = np.arange(30) % 3 != np.arange(3)[:, None]
    heads = fit_ridge(features, targets, l2=[0.1] * 3, sample_weight=kept)
    for fold in range(3):
        alone = fit_ridge(features[kept[fold]], targets[kept[fold]], l2=[0.1])
        np.testing.assert_allclose(heads.kernel[fold], alone.kernel[0], atol=1e-6)
        np.testing.assert_allclose(
            heads.leave_one_out[fold], alone.leave_one_out[0], rtol=1e-9
        )


def test_constant_features_and_a_single_row_are_fitted():
    features, targets, _ = make_rows(10, 3)
    features[:, 1] = 7
    heads = fit_ridge(features, targets, l2=[1e-6])
    assert np.isfinite(heads.leave_one_out).all()
    np.testing.assert_array_equal(heads.kernel[0, 1], 0)
    single = fit_ridge(features[:1], targets[:1], l2=[0.1])
    np.testing.assert_array_equal(single.kernel, 0)
    np.testing.assert_allclose(single.bias[0], targets[0], rtol=1e-6)
    assert np.isnan(single.leave_one_out).all()


def make_classes(n: int = 90, k: int = 3):
    rng = np.random.default_rng(3)
    targets = np.arange(n) % k
    centers = rng.normal(size=(k, 6))
    rows = centers[targets] + rng.normal(size=(n, 6))
    return rows.astype(np.float32), targets


def test_the_scale_of_logits_is_the_best_for_outputs_left_one_out():
    features, targets = make_classes()
    heads = fit_ridge_classifier(
        features, targets, kind="multiclass", n_classes=3, l2=[0.1]
    )
    outputs = np.empty((90, 3))
    for row in range(90):
        kept = np.arange(90) != row
        oracle = Ridge(alpha=9.0).fit(features[kept], np.eye(3)[targets[kept]])
        outputs[row] = oracle.predict(features[[row]])[0]
    best = minimize_scalar(
        lambda scale: log_loss(targets, softmax(scale * outputs)), bounds=(0.1, 50)
    )
    oracle = Ridge(alpha=9.0).fit(features, np.eye(3)[targets])
    np.testing.assert_allclose(heads.leave_one_out, best.fun, rtol=1e-5)
    np.testing.assert_allclose(heads.kernel[0].T, oracle.coef_ * best.x, rtol=1e-3)
    np.testing.assert_allclose(heads.bias[0], oracle.intercept_ * best.x, rtol=1e-3)


def test_one_label_and_two_classes_are_the_same_head():
    features, targets = make_classes(k=2)
    classes = fit_ridge_classifier(
        features, targets, kind="binary", n_classes=2, l2=[0.1, 1]
    )
    assert classes.kernel.shape == (2, 6, 1)
    columns = np.stack([targets, 1 - targets], axis=1).astype(float)
    columns[5, 1] = np.nan
    labels = fit_ridge_classifier(
        features, columns, kind="multilabel", n_classes=2, l2=[0.1, 1]
    )
    np.testing.assert_allclose(labels.kernel[..., :1], classes.kernel, rtol=1e-5)
    head = Head(
        kind="ridge",
        feature="f",
        task=Task("binary", ("no", "yes")),
        settings={},
        preparation=Preparation(Steps(standardize=False), None),
        arrays={"kernel": classes.kernel[0], "bias": classes.bias[0]},
    )
    probabilities = head.predict(features)
    assert np.mean(probabilities.argmax(axis=1) == targets) > 0.75
    # Three classes of two that are there: the third is no guess.
    third = fit_ridge_classifier(
        features, targets, kind="multiclass", n_classes=3, l2=[0.1]
    )
    np.testing.assert_array_equal(third.kernel[..., 2], 0)
    assert softmax(features @ third.kernel[0] + third.bias[0])[:, 2].max() < 1e-5


def test_ten_thousand_classes_are_fitted():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 5)).astype(np.float32)
    targets = rng.integers(0, 10_000, 60)
    targets[:30] = 9_999
    heads = fit_ridge_classifier(
        features, targets, kind="multiclass", n_classes=10_000, l2=[0.1]
    )
    assert heads.bias.shape == (1, 10_000)
    assert np.isfinite(heads.leave_one_out).all()


def test_what_cannot_be_fitted_is_said():
    features, targets = make_classes()
    fit = {"kind": "multiclass", "n_classes": 3}
    with pytest.raises(DatasetError, match=r"tell 3 classes apart.* of 1\."):
        fit_ridge_classifier(features, targets * 0, l2=[0.1], **fit)
    with pytest.raises(ConfigError, match="each must be above 0"):
        fit_ridge_classifier(features, targets, l2=[0.0], **fit)
    with pytest.raises(DatasetError, match="no value of target 1"):
        fit_ridge(features[:2], [[1, np.nan], [2, np.nan]], l2=[1])
    with pytest.raises(FeatureShapeError, match=r"targets of the shape \[90, K\]"):
        fit_ridge(features, targets, l2=[1])


def test_a_scale_of_scores_that_tell_all_apart_is_bounded():
    scale, loss = fit_scale(np.eye(3), np.arange(3), np.ones(3))
    assert scale == pytest.approx(30, rel=1e-6) and loss < 1e-12
    assert fit_scale(np.zeros((3, 4)), np.arange(3), np.ones(3)) == (1.0, np.log(4))
