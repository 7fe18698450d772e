"""The gate: what it promotes, what it says, and how seldom it is fooled by noise."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tl_pipeline.errors import ConfigError
from tl_pipeline.evaluation.gate import (
    FEWEST_UNITS,
    Judgment,
    Rules,
    choose_units,
    judge,
    spend,
)
from tl_pipeline.evaluation.paired import sign_test
from tl_pipeline.heads.linear import fit_linear, predict_logits

NIGHTS = 365
N_TEST = 500


def judge_pairs(
    better: int,
    worse: int,
    same: int,
    *,
    rules: Rules = Rules(),  # noqa: B008
    look: int = 1,
    groups: list[str] | None = None,
) -> Judgment:
    current = [0] * better + [1] * worse + [1] * same
    new = [1] * better + [0] * worse + [1] * same
    return judge(
        current,
        new,
        metric="accuracy",
        look=look,
        rules=rules,
        rng=np.random.default_rng(0),
        groups=groups or (),
    )


@pytest.mark.parametrize(
    ("pairs", "rules", "reason", "sentence"),
    [
        ((5, 4, 241), Rules(), "noise", "Hold: +0.4 over the current head is within"),
        ((4, 5, 241), Rules(), "no_gain", "Hold: -0.4 over the current head is no "),
        ((0, 0, 50), Rules(), "no_gain", "Hold: +0.0 over the current head is no gain"),
        ((9, 0, 241), Rules(), "gain", "Promote: +3.6 over the current head is beyond"),
        (
            (9, 0, 241),
            Rules(min_gain=4),
            "small_gain",
            "Hold: +3.6 over the current head is less than the 4 asked for",
        ),
    ],
)
def test_the_sentence_says_verdict_gain_and_why(pairs, rules, reason, sentence):
    found = judge_pairs(*pairs, rules=rules)
    assert found.reason == reason
    assert found.sentence.startswith(sentence)
    assert found.verdict == ("promote" if reason == "gain" else "hold")


def test_the_same_gain_passes_at_the_first_look_and_not_at_the_hundredth():
    assert judge_pairs(9, 0, 241, look=1).verdict == "promote"
    late = judge_pairs(9, 0, 241, look=100)
    assert late.verdict == "hold"
    assert late.sentence.endswith("p = 0.002, at most 2.5e-06 at look 100)")


def test_a_slice_that_loses_holds_a_gain_unless_it_is_too_small_to_say():
    groups = ["day"] * 40 + ["night"] * 30
    found = judge_pairs(40, 2, 28, groups=groups)
    assert found.reason == "slice"
    assert "+54.3 over the current head comes with -6.7 on night" in found.sentence
    allowed = Rules(max_slice_loss=7)
    assert judge_pairs(40, 2, 28, groups=groups, rules=allowed).verdict == "promote"
    few = ["day"] * 55 + ["night"] * 15
    current = [0] * 40 + [1] * 30
    new = [1] * 55 + [0] * 2 + [1] * 13
    found = judge(
        current,
        new,
        metric="accuracy",
        look=1,
        rules=Rules(),
        rng=np.random.default_rng(0),
        groups=few,
    )
    assert found.slices[-1].paired.difference.value < -0.1
    assert found.verdict == "promote"


def test_many_groups_are_draws_and_few_are_slices():
    many = [f"patient {i // 2}" for i in range(2 * FEWEST_UNITS)]
    assert choose_units(many) == many
    assert choose_units([*many, None]) is None
    assert choose_units(many[2:]) is None
    # Nine photographs of one patient are one piece of evidence, not nine.
    found = judge_pairs(9, 0, 241, groups=["one"] * 9 + [f"p{i}" for i in range(241)])
    assert (found.verdict, found.reason) == ("hold", "noise")


def test_all_looks_at_all_test_splits_together_spend_no_more_than_alpha():
    parts = [
        spend(0.05, look=look, split=split)
        for look, split in itertools.product(range(1, 400), repeat=2)
    ]
    assert 0.0495 < sum(parts) < 0.05
    assert parts[0] > 0.05 / 5  # the first look is worth looking


@pytest.mark.parametrize(
    "rules", [{"alpha": 0.0}, {"alpha": 1.0}, {"min_gain": -1}, {"max_slice_loss": -1}]
)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, float]):
    with pytest.raises(ConfigError, match=r"\[promotion\]"):
        Rules(**rules)


@pytest.fixture(scope="module")
def retrained() -> np.ndarray:
    """Where heads of one recipe are right: [H, N] on unseen digits.

    Each is trained on as many digits, drawn anew, as a night's new data would.
    """
    digits = load_digits()
    features = digits.data.astype(np.float32) / 16
    order = np.random.default_rng(0).permutation(len(features))
    train, pool = order[:200], order[200:]
    n_heads = 16
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(100, [1 / len(train)] * len(train), n_heads)
    fitted = fit_linear(
        features[train],
        digits.target[train],
        n_classes=10,
        l2=[0.01] * n_heads,
        sample_weight=drawn.astype(np.float32),
    )
    logits = predict_logits(fitted, features[pool])
    return logits.argmax(axis=-1) == digits.target[pool]


def years_fooled(right: np.ndarray, levels: np.ndarray, *, n_years: int) -> float:
    """Returns the share of years in which a head without effect was promoted.

    Every head answers each test example as one of the retrained ones would, which one
    being chance. So no head of the year is better than another, and whatever is
    promoted is noise; the head in use stays the same until then.
    """
    rng = np.random.default_rng(2)
    fooled = 0
    for _ in range(n_years):
        test = rng.integers(0, right.shape[1], N_TEST)
        who = rng.integers(0, len(right), (NIGHTS + 1, N_TEST), np.uint8)
        current, *nights = right[who, test]
        better = (nights & ~current).sum(axis=1)
        worse = (~np.array(nights) & current).sum(axis=1)
        fooled += (sign_test(better, worse) <= levels).any()
    return fooled / n_years


@pytest.mark.parametrize("n_years", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_a_year_of_nights_without_effect_promotes_noise_at_most_at_the_stated_rate(
    retrained: np.ndarray, n_years: int
):
    alpha = 0.05
    levels = np.array([spend(alpha, look=k) for k in range(1, NIGHTS + 1)])
    fooled = years_fooled(retrained, levels, n_years=n_years)
    assert fooled <= alpha
    # The same nights without the correction: that is what it is for.
    nightly = years_fooled(retrained, np.full(NIGHTS, alpha), n_years=n_years)
    assert nightly > 0.5
