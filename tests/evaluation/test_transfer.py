"""The verdict: its wording, and which baseline decides it."""

import json

import numpy as np
import pytest

from tl_pipeline.errors import ConfigError
from tl_pipeline.evaluation.transfer import Gain, Verdict, judge_transfer


@pytest.mark.parametrize(
    ("gain", "sentence"),
    [
        (
            Gain("pixels", 18.23, 14.94, 21.58, 153, 3),
            "Transfer: positive, +18.2 points over raw pixels (95 % 14.9 to 21.6), "
            "153 test images, 3 seeds",
        ),
        (
            Gain("random:0", 0.4, -1.25, 2.0, 2000, 1),
            "Transfer: none, +0.4 points over the same network untrained (random:0) "
            "(95 % -1.2 to 2.0), 2,000 test images",
        ),
        (
            Gain("bag_of_words", -3.0, -5.0, -0.5, 1, 1),
            "Transfer: negative, -3.0 points over bag_of_words (95 % -5.0 to -0.5), "
            "1 test image",
        ),
        (
            Gain("pixels", 2.0, 0.0, 4.0, 50, 1),
            "Transfer: none, +2.0 points over raw pixels (95 % 0.0 to 4.0), "
            "50 test images",
        ),
    ],
)
def test_the_sentence_says_verdict_gain_interval_examples_and_seeds(gain, sentence):
    verdict = Verdict(gain, (gain,), "test images")
    assert verdict.sentence() == sentence
    assert json.loads(json.dumps(verdict.to_json()))["sentence"] == sentence


def right(share: float, n: int = 400, seeds: int = 3) -> np.ndarray:
    return np.random.default_rng(round(share * 1000)).random((seeds, n)) < share


def test_the_strongest_baseline_decides_and_every_gain_is_told():
    compared = {
        "pixels": (right(0.9), right(0.3)),
        "random:0": (right(0.9), right(0.89)),
    }
    verdict = judge_transfer(compared, rng=np.random.default_rng(0))
    assert verdict.verdict == "none"
    assert verdict.decisive.against == "random:0"
    assert [gain.verdict for gain in verdict.gains] == ["positive", "none"]
    plain = verdict.to_json()
    assert [gain["against"] for gain in plain["gains"]] == ["pixels", "random:0"]
    assert (plain["n"], plain["n_seeds"]) == (400, 3)


@pytest.mark.parametrize(
    ("head", "baseline", "expected"),
    [(0.9, 0.6, "positive"), (0.6, 0.9, "negative"), (0.8, 0.801, "none")],
)
def test_a_planted_gain_is_judged_by_its_sign(head, baseline, expected):
    compared = {"pixels": (right(head), right(baseline))}
    verdict = judge_transfer(compared, rng=np.random.default_rng(0))
    assert verdict.verdict == expected
    assert verdict.decisive.points == pytest.approx(100 * (head - baseline), abs=6)


def test_without_a_baseline_there_is_no_verdict():
    with pytest.raises(ConfigError, match="no baseline .* Name pixels or random:0"):
        judge_transfer({}, rng=np.random.default_rng(0))
