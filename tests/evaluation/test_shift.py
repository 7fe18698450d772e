import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from tl_pipeline.errors import DatasetError, FeatureShapeError
from tl_pipeline.evaluation.shift import (
    align_coral,
    priors_by_bbse,
    priors_by_em,
    two_sample_test,
)

SOURCE = np.array([0.5, 0.3, 0.2])
TARGET = np.array([0.1, 0.2, 0.7])


def draw(n: int, priors: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of three overlapping Gaussians, and whose they are."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(len(priors), n, p=priors)
    return rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[classes], classes


@pytest.fixture(scope="module")
def head() -> LogisticRegression:
    return LogisticRegression().fit(*draw(4000, SOURCE, 0))


def test_of_one_distribution_the_stated_rates_hold():
    p_values, covered = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        source, target = rng.normal(size=(2, 30, 3))
        found = two_sample_test(source, target, rng=rng, level=0.8)
        p_values.append(found.p_value)
        # Every classifier is right half of the time.
        covered.append(found.accuracy.low <= 0.5 <= found.accuracy.high)
    for level in (0.05, 0.2):
        # A fair rate exceeds this bound once in a thousand times.
        bound = level + 3.1 * np.sqrt(level * (1 - level) / 150)
        assert np.mean(np.array(p_values) <= level) <= bound
    assert np.mean(covered) >= 0.8


def test_a_planted_shift_is_found_and_its_interval_holds_the_best_accuracy():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 900, 5))
    target[:, 0] += 2.0  # the best rule is right in Phi(1) = 0.841
    found = two_sample_test(source, target, rng=rng)
    assert found.p_value < 1e-9 and found.n == 900
    assert found.accuracy.low < 0.841 < found.accuracy.high
    assert found.accuracy.high - found.accuracy.low < 0.1


def test_more_rows_of_one_side_are_no_difference():
    rng = np.random.default_rng(1)
    found = two_sample_test(
        rng.normal(size=(500, 3)), rng.normal(size=(60, 3)), rng=rng
    )
    assert found.n == 60 and found.p_value > 0.05 and found.accuracy.value < 0.65


def test_the_fewest_rows_that_are_taken_find_domains_apart():
    rng = np.random.default_rng(0)
    apart = two_sample_test(np.zeros((16, 1)), np.ones((17, 1)), rng=rng)
    assert apart.p_value == pytest.approx(2 * 0.5**16)
    with pytest.raises(DatasetError, match="takes 16 of each"):
        two_sample_test(np.zeros((15, 1)), np.ones((17, 1)), rng=rng)


def test_aligned_rows_have_the_mean_and_covariance_of_the_target():
    rng = np.random.default_rng(2)
    source, target = (
        rng.normal(size=(20_000, 4)) @ rng.normal(size=(4, 4)) + rng.normal(size=4)
        for _ in range(2)
    )
    aligned = align_coral(source, target).rows
    wanted = np.cov(target.T)
    np.testing.assert_allclose(np.cov(aligned.T), wanted, atol=0.01 * wanted.max())
    np.testing.assert_allclose(aligned.mean(axis=0), target.mean(axis=0), atol=1e-4)


def test_coral_undoes_a_known_distortion_row_by_row():
    rng = np.random.default_rng(3)
    source, other = rng.normal(size=(2, 20_000, 3))
    scale, offset = [0.2, 5.0, 1.0], [4.0, -6.0, 1.0]
    aligned = align_coral(source, other * scale + offset).rows
    off = (aligned - (source * scale + offset)) / scale
    assert np.sqrt(np.square(off).mean()) < 0.03


def test_a_head_on_aligned_rows_reads_a_distorted_target():
    source, classes = draw(3000, SOURCE, 3)
    rows, truth = draw(3000, SOURCE, 4)
    target = rows * [0.2, 5.0, 1.0] + [4.0, -6.0, 1.0]
    before = LogisticRegression().fit(source, classes).score(target, truth)
    aligned = align_coral(source, target).rows
    after = LogisticRegression().fit(aligned, classes).score(target, truth)
    best = LogisticRegression().fit(source, classes).score(rows, truth)
    assert before < best - 0.15
    assert after == pytest.approx(best, abs=0.01)


def test_coral_of_fewer_rows_than_dimensions_is_finite_and_says_its_shrinkage():
    rng = np.random.default_rng(5)
    source, target = rng.normal(size=(2, 20, 50))
    source[:, 0] = target[:, 0] = 1.0  # constant
    found = align_coral(source, target)
    assert np.isfinite(found.rows).all()
    assert all(0 < share <= 1 for share in found.shrinkage)
    np.testing.assert_allclose(found.rows.mean(axis=0), target.mean(axis=0), atol=1e-5)


def test_what_cannot_be_aligned_is_refused():
    with pytest.raises(DatasetError, match="two of each"):
        align_coral(np.zeros((1, 2)), np.zeros((5, 2)))
    with pytest.raises(FeatureShapeError, match="same D"):
        align_coral(np.zeros((5, 2)), np.zeros((5, 3)))
    with pytest.raises(FeatureShapeError, match="pooled feature"):
        align_coral(np.zeros((2, 5000)), np.zeros((2, 5000)))


def test_planted_class_shares_are_recovered_by_both(head: LogisticRegression):
    rows, truth = draw(4000, TARGET, 1)
    held, held_truth = draw(4000, SOURCE, 2)
    shares = head.predict_proba(rows)
    by_em = priors_by_em(shares, SOURCE)
    by_bbse = priors_by_bbse(
        shares,
        SOURCE,
        held_targets=held_truth,
        held_probabilities=head.predict_proba(held),
    )
    before = np.mean(shares.argmax(axis=1) == truth)
    for found in (by_em, by_bbse):
        np.testing.assert_allclose(found.priors, TARGET, atol=0.04)
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
        after = np.mean(found.probabilities.argmax(axis=1) == truth)
        assert after > before + 0.05


def test_shares_that_did_not_shift_stay(head: LogisticRegression):
    rows, _ = draw(4000, SOURCE, 6)
    found = priors_by_em(head.predict_proba(rows), SOURCE)
    np.testing.assert_allclose(found.priors, SOURCE, atol=0.03)


def test_em_ends_at_the_largest_likelihood(head: LogisticRegression):
    shares = head.predict_proba(draw(300, TARGET, 7)[0])

    def loss(logits: np.ndarray) -> float:
        powers = np.exp([*logits, 0.0])
        return -np.log(shares @ (powers / powers.sum() / SOURCE)).sum()

    best = minimize(loss, np.zeros(2), method="BFGS").x
    powers = np.exp([*best, 0.0])
    found = priors_by_em(shares, SOURCE).priors
    np.testing.assert_allclose(found, powers / powers.sum(), atol=1e-4)


def test_bbse_of_a_worked_example():
    # Predicts class 0 for 8 of 10 zeros and 3 of 10 ones; 0.65 in the target:
    # 0.8 x + 0.3 (1 - x) = 0.65, x = 0.7.
    eye = np.eye(2)
    found = priors_by_bbse(
        eye[[0] * 13 + [1] * 7],
        [0.5, 0.5],
        held_targets=[0] * 10 + [1] * 10,
        held_probabilities=eye[[0] * 8 + [1] * 2 + [0] * 3 + [1] * 7],
    )
    np.testing.assert_allclose(found.priors, [0.7, 0.3])


def test_bbse_refuses_a_class_that_was_not_held_out():
    eye = np.eye(3)
    with pytest.raises(DatasetError, match="tell all 3 classes apart"):
        priors_by_bbse(
            eye, SOURCE, held_targets=[0, 1, 1], held_probabilities=eye[[0, 1, 1]]
        )


def test_a_class_without_a_share_in_the_source_gets_none_in_the_target():
    found = priors_by_em([[0.5, 0.25, 0.25], [0.2, 0.1, 0.7]], [0.5, 0.5, 0.0])
    np.testing.assert_allclose(found.priors, [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    with pytest.raises(DatasetError, match="M at least 1"):
        priors_by_em(np.zeros((0, 3)), SOURCE)
