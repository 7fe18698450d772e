"""Linear heads: scikit-learn's optimum, on every shape, in any company."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tl_pipeline.errors import (
    ConfigError,
    DatasetError,
    FeatureShapeError,
    TrainingError,
)
from tl_pipeline.heads import paths
from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.linear import fit_linear, predict_logits
from tl_pipeline.heads.links import softmax
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.heads_config import L2_GRID


def few_digits() -> tuple[np.ndarray, np.ndarray]:
    """300 rows: tests that share a shape share a compilation."""
    train, targets, _, _ = digits()
    return train[:300], targets[:300]


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    features, targets = load_digits(return_X_y=True)
    standardizer = fit_standardizer(features[:1000])
    features = apply_standardizer(standardizer, features)
    return features[:1000], targets[:1000], features[1000:], targets[1000:]


def ill_conditioned(
    n_train: int = 245, n_test: int = 2000, width: int = 1280
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rectified features of a spectrum that falls over three decades, two classes."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, n_train + n_test)
    hidden = rng.normal(size=(len(targets), 60))
    hidden[:, :4] += 1.5 * targets[:, None]
    mixing = rng.normal(size=(60, width)) * np.logspace(0, -3, 60)[:, None]
    features = np.maximum(hidden @ mixing + 0.5, 0)
    features = apply_standardizer(fit_standardizer(features[:n_train]), features)
    return (
        features[:n_train],
        targets[:n_train],
        features[n_train:],
        targets[n_train:],
    )


def many_classes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rectified mixtures of hidden directions whose weight falls tenfold, and noise."""
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 12, 2500)
    hidden = rng.normal(size=(12, 16))[targets] + 0.8 * rng.normal(size=(2500, 16))
    mixing = rng.normal(size=(16, 64)) * np.logspace(0, -1, 16)[:, None]
    features = np.maximum(hidden @ mixing + rng.normal(size=(2500, 64)), 0)
    features = apply_standardizer(fit_standardizer(features[:1500]), features)
    return features[:1500], targets[:1500], features[1500:], targets[1500:]


def objective(
    kernel: np.ndarray,
    bias: np.ndarray,
    features: np.ndarray,
    targets: np.ndarray,
    l2: float,
    weight: np.ndarray | None = None,
) -> float:
    """The objective in float64, written from its definition; `kernel` is [D, K]."""
    logits = features.astype(np.float64) @ kernel + bias
    losses = (
        np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(logits)), targets]
    )
    if kernel.shape[1] == 2:  # one difference of kernels, as scikit-learn has it
        norm = float(((kernel[:, 1] - kernel[:, 0]) ** 2).sum())
    else:
        norm = float((kernel.astype(np.float64) ** 2).sum())
    return float(np.average(losses, weights=weight)) + l2 / 2 * norm


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("data", [digits, ill_conditioned, many_classes])
def test_heads_reach_the_optimum_of_scikit_learn_at_every_strength(data):
    train, targets, test, _ = data()
    n_classes = int(targets.max()) + 1
    heads = fit_linear(train, targets, n_classes=n_classes, l2=L2_GRID)
    assert heads.converged.all()
    logits = predict_logits(heads, test)
    agreeing = []
    for index in range(0, len(L2_GRID), 6):
        l2 = L2_GRID[index]
        oracle = LogisticRegression(
            C=sklearn_c(l2, len(train)), tol=1e-9, max_iter=3000
        )
        with threadpool_limits(1):  # faster on matrices this small
            oracle.fit(train.astype(np.float64), targets)
        kernel, bias = oracle.coef_.T, oracle.intercept_
        if n_classes == 2:
            kernel, bias = kernel * [[0, 1]], bias * [0, 1]
        best = objective(kernel, bias, train, targets, l2)
        ours = objective(
            heads.kernel[index].astype(np.float64),
            heads.bias[index],
            train,
            targets,
            l2,
        )
        assert ours <= best * (1 + 1e-4)
        assert heads.loss[index] == pytest.approx(ours, rel=1e-4)
        agreeing.append(logits[index].argmax(axis=1) == oracle.predict(test))
    assert np.mean(agreeing) >= 0.999


@pytest.mark.parametrize("n_classes", [2, 5])
def test_smoothed_targets_are_rows_repeated_for_every_class(n_classes: int):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 8)).astype(np.float32)
    features[:, 0] += np.arange(200) % n_classes
    targets = np.arange(200) % n_classes
    weights = rng.uniform(0.2, 1, 200)
    heads = fit_linear(
        features,
        targets,
        n_classes=n_classes,
        l2=[1e-2, 1e-4],
        sample_weight=weights,
        label_smoothing=0.2,
    )
    assert heads.converged.all()
    every = np.repeat(np.arange(n_classes), 200)
    share = np.where(every == np.tile(targets, n_classes), 0.8, 0) + 0.2 / n_classes
    repeated = np.tile(features, (n_classes, 1))
    counts = share * np.tile(weights, n_classes)
    logits = predict_logits(heads, features)
    for index, l2 in enumerate((1e-2, 1e-4)):
        oracle = LogisticRegression(
            C=sklearn_c(l2, weights.sum()), tol=1e-10, max_iter=5000
        )
        oracle.fit(repeated.astype(np.float64), every, sample_weight=counts)
        shares = oracle.predict_proba(features)
        np.testing.assert_allclose(softmax(logits[index]), shares, atol=2e-3)
        kernel, bias = heads.kernel[index].astype(np.float64), heads.bias[index]
        ours = objective(kernel, bias, repeated, every, l2, counts)
        assert heads.loss[index] == pytest.approx(ours, rel=1e-5)
        kernel, bias = oracle.coef_.T, oracle.intercept_
        if n_classes == 2:
            kernel, bias = kernel * [[0, 1]], bias * [0, 1]
        best = objective(kernel, bias, repeated, every, l2, counts)
        assert ours <= best * (1 + 1e-4)


def test_a_class_without_an_example_gets_no_share_of_a_smoothed_target():
    train, targets = few_digits()
    few = targets < 4
    given = {"l2": [1e-2], "label_smoothing": 0.1}
    alone = fit_linear(train[few], targets[few], n_classes=4, **given)
    beside = fit_linear(train, targets, n_classes=10, sample_weight=few, **given)
    shares = softmax(predict_logits(beside, train[:50])[0])
    assert shares[:, 4:].max() < 1e-6
    expected = softmax(predict_logits(alone, train[:50])[0])
    np.testing.assert_allclose(shares[:, :4], expected, atol=1e-3)


def test_no_direction_descends_from_where_the_search_ended():
    train, targets = few_digits()
    l2 = 1e-3
    heads = fit_linear(train, targets, n_classes=10, l2=[l2])
    kernel, bias = heads.kernel[0].astype(np.float64), heads.bias[0].astype(np.float64)
    rng = np.random.default_rng(1)
    for _ in range(20):
        along = rng.normal(size=kernel.shape), rng.normal(size=bias.shape)
        length = np.sqrt((along[0] ** 2).sum() + (along[1] ** 2).sum())
        step = 1e-4 / length
        ahead, behind = (
            objective(
                kernel + sign * step * along[0],
                bias + sign * step * along[1],
                train,
                targets,
                l2,
            )
            for sign in (1, -1)
        )
        # The slope by central differences; at the start, a kernel of 0, it is above 0.1
        # along the gradient.
        assert abs(ahead - behind) / 2e-4 < 2e-4


def awkward_cases() -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    rng = np.random.default_rng(2)
    plain = rng.normal(size=(40, 12))
    targets = np.arange(40) % 4
    constant = plain * (np.arange(12) != 2)
    return {
        "two classes": (plain, targets % 2, 2),
        "one row a class, more features than rows": (
            rng.normal(size=(4, 50)),
            np.arange(4),
            4,
        ),
        "a constant feature": (constant, targets, 4),
        "twin rows and twin features": (np.tile(plain[:5, :6], (8, 2)), targets, 4),
        "a class without an example": (plain, np.where(targets == 1, 3, targets), 4),
        "features of very different size": (plain * 1.2 ** np.arange(12), targets, 4),
        "features that say nothing": (np.zeros((40, 12)), targets, 4),
        "large features far from 0": (plain * 1e4 + 1e5, targets, 4),
        "ten thousand classes, most absent": (plain, targets * 2500, 10_000),
    }


@pytest.mark.parametrize("case", awkward_cases())
def test_awkward_shapes_converge_to_a_better_loss_than_no_kernel(case: str):
    features, targets, n_classes = awkward_cases()[case]
    heads = fit_linear(features, targets, n_classes=n_classes, l2=[1e-4, 1e-2, 1.0])
    assert heads.kernel.shape == (3, features.shape[1], n_classes)
    assert heads.bias.shape == (3, n_classes)
    assert heads.converged.all()
    shares = np.bincount(targets, minlength=n_classes) / len(targets)
    entropy = -sum(share * np.log(share) for share in shares if share)
    assert (heads.loss <= entropy * (1 + 1e-6)).all()
    assert (np.diff(heads.loss) >= 0).all()  # a stronger penalty cannot lower it
    probabilities = softmax(predict_logits(heads, features))
    assert (probabilities[..., shares == 0] < 1e-6).all()
    np.testing.assert_allclose(probabilities.sum(axis=2), 1, atol=1e-12)
    # The bias is free, so on average each class is given its share of the rows.
    np.testing.assert_allclose(
        probabilities.mean(axis=1), np.tile(shares, (3, 1)), atol=2e-3
    )


def test_the_same_input_gives_the_same_bytes():
    train, targets = few_digits()
    first, second = (
        fit_linear(train, targets, n_classes=10, l2=[1e-2, 1e-3]) for _ in range(2)
    )
    for a, b in zip(first, second, strict=True):
        assert a.tobytes() == b.tobytes()


def test_many_heads_at_once_equal_one_at_a_time_and_chunk_by_chunk(monkeypatch):
    train, targets = few_digits()
    kept = np.arange(300) % 3 != np.arange(3)[:, None]
    l2, folds = [1e-3, 1.0, 1e-1, 1e-3, 1e-1], [0, 1, 1, 2, 0]
    arguments = {"n_classes": 10, "tol": 1e-8}
    together = fit_linear(train, targets, l2=l2, sample_weight=kept[folds], **arguments)
    alone = [
        fit_linear(train, targets, l2=[one], sample_weight=kept[fold], **arguments)
        for one, fold in zip(l2, folds, strict=True)
    ]
    # Room for two paths at a time: 2 chunks, the last of them filled up.
    monkeypatch.setattr(paths, "WORKING_BYTES", 2 * 4 * 10 * (6 * 300 + 30 * 64))
    chunked = fit_linear(train, targets, l2=l2, sample_weight=kept[folds], **arguments)
    for index in range(len(l2)):
        assert alone[index].loss[0] == pytest.approx(together.loss[index], rel=1e-5)
        assert chunked.loss[index] == pytest.approx(together.loss[index], rel=1e-5)
        expected = softmax(predict_logits(together, train)[index])
        for other in (alone[index], chunked):
            row = 0 if other is alone[index] else index
            np.testing.assert_allclose(
                softmax(predict_logits(other, train)[row]), expected, atol=2e-3
            )


def test_a_finished_head_stays_where_it_is_while_its_neighbor_goes_on():
    train, targets = few_digits()
    kept = np.arange(300) % 2 > 0
    beside_fast, beside_slow = (
        fit_linear(
            train,
            targets,
            n_classes=10,
            l2=[10.0, other],
            sample_weight=[kept, ~kept],
        )
        for other in (10.0, 1e-4)
    )
    assert beside_slow.n_iter[1] > 5 * beside_slow.n_iter[0]
    assert beside_slow.kernel[0].tobytes() == beside_fast.kernel[0].tobytes()


def test_a_path_of_strengths_takes_far_fewer_iterations_than_heads_alone():
    train, targets, _, _ = many_classes()
    l2 = np.logspace(0, -5, 16).tolist()
    path = fit_linear(train, targets, n_classes=12, l2=l2)
    alone = [fit_linear(train, targets, n_classes=12, l2=[one]) for one in l2[::5]]
    assert path.n_iter[::5].sum() < 0.5 * sum(int(one.n_iter[0]) for one in alone)
    for index, one in zip(range(0, 16, 5), alone, strict=True):
        assert path.loss[index] == pytest.approx(one.loss[0], rel=1e-4)


def test_strengths_in_any_order_and_twice_come_back_in_that_order():
    train, targets = few_digits()
    strong_first = fit_linear(train, targets, n_classes=10, l2=[1.0, 0.1, 0.01])
    mixed = fit_linear(train, targets, n_classes=10, l2=[0.01, 1.0, 0.1, 1.0])
    np.testing.assert_allclose(mixed.loss, strong_first.loss[[2, 0, 1, 0]], rtol=1e-5)


def test_a_weight_of_zero_equals_dropping_the_row():
    train, targets = few_digits()
    kept = np.arange(300) % 2 > 0
    weighted = fit_linear(
        train, targets, n_classes=10, l2=[1e-2, 1e-2], sample_weight=[kept, ~kept]
    )
    for index, rows in enumerate((kept, ~kept)):
        dropped = fit_linear(train[rows], targets[rows], n_classes=10, l2=[1e-2])
        assert weighted.loss[index] == pytest.approx(dropped.loss[0], rel=1e-5)
        np.testing.assert_allclose(
            softmax(predict_logits(weighted, train)[index]),
            softmax(predict_logits(dropped, train)[0]),
            atol=5e-3,
        )


def test_weights_count_as_repeated_rows():
    train, targets = (array[:150] for array in few_digits())
    weight = np.arange(150) % 3
    weighted = fit_linear(train, targets, n_classes=10, l2=[1e-2], sample_weight=weight)
    found = objective(
        weighted.kernel[0].astype(np.float64),
        weighted.bias[0],
        train.repeat(weight, axis=0),
        targets.repeat(weight),
        1e-2,
    )
    assert weighted.loss[0] == pytest.approx(found, rel=1e-5)


def test_too_few_iterations_are_told():
    train, targets = few_digits()
    heads = fit_linear(train, targets, n_classes=10, l2=[1e-5, 10.0], max_iter=8)
    assert heads.converged.tolist() == [False, True]
    assert heads.n_iter[0] == 8 > heads.n_iter[1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"label_smoothing": 1.0}, ConfigError, "from 0 to below 1"),
        ({"targets": [0, 0, 0]}, DatasetError, "2 classes apart, found .* of 1"),
        ({"n_classes": 1, "targets": [0, 0, 0]}, DatasetError, "tell 1 classes apart"),
        ({"sample_weight": [1, 0, 0]}, DatasetError, "at least two"),
        ({"sample_weight": [0, 0, 0]}, DatasetError, "found training examples of 0"),
        ({"targets": [0, 1, 2]}, DatasetError, "2 classes, found targets from 0 to 2"),
        ({"targets": [0.0, 1.0, 1.0]}, DatasetError, "indices, got float64"),
        ({"targets": [0, 1]}, FeatureShapeError, r"3 rows .* shape \[2\]"),
        ({"features": [1.0, 2.0, 3.0]}, FeatureShapeError, r"\[N, D\].* got \[3\]"),
        ({"features": np.zeros((0, 4))}, FeatureShapeError, r"got \[0, 4\]"),
        ({"features": [[1.0], [np.nan], [np.inf]]}, TrainingError, "of which 2 hold"),
        ({"features": [[3e38], [0], [-3e38]]}, TrainingError, "3e[+]38. Standardize"),
        ({"l2": [0.1, 0.0]}, ConfigError, r"\[0.1, 0.0\]: each must be above 0"),
        ({"l2": []}, ConfigError, "one at least"),
        ({"sample_weight": [1, -1, 1]}, ConfigError, "found -1.0 to 1.0"),
        ({"sample_weight": [[1, 1]]}, ConfigError, r"\[1, 3\], got \[1, 2\]"),
    ],
)
def test_what_cannot_be_fitted_gets_one_sentence(change, error, message):
    good = {
        "features": [[0.0], [1.0], [2.0]],
        "targets": [0, 1, 1],
        "n_classes": 2,
        "l2": [1.0],
    }
    arguments = good | change
    features, targets = arguments.pop("features"), arguments.pop("targets")
    with pytest.raises(error, match=message):
        fit_linear(features, targets, **arguments)


def test_heads_refuse_features_of_another_width():
    heads = fit_linear([[-1.0], [1.0]], [0, 1], n_classes=2, l2=[0.1])
    with pytest.raises(FeatureShapeError, match=r"Heads of 1 features .* \[2, 3\]"):
        predict_logits(heads, np.zeros((2, 3)))
