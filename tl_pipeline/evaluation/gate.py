"""The gate: does a new head take the place of the one in use?

A test split that is asked every night answers with noise some nights: at 5 % a night,
eighteen times a year. So every look at it spends a part of one budget that is never
refilled, and the parts of all looks together are the budget: the chance that chance
alone ever promotes a head is at most `alpha`, however many nights come.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError
from tl_pipeline.evaluation.paired import (
    Paired,
    Slice,
    compare_scores,
    compare_slices,
    gain_p_value,
    sum_by_unit,
)

FEWEST_UNITS = 30  # groups; of fewer, no gain could ever be told from noise


@dataclasses.dataclass(frozen=True)
class Rules:
    """When a new head takes the place of the one in use.

    Attributes:
      alpha: The chance of ever promoting a head that is no better.
      min_gain: Points by which it must be better at least.
      max_slice_loss: Points by which it may be worse on a slice at most.
    """

    alpha: float = 0.05
    min_gain: float = 0.0
    max_slice_loss: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or min(self.min_gain, self.max_slice_loss) < 0:
            raise ConfigError(
                f"Asked for the rules {self}: alpha lies between 0 and 1, min_gain and "
                "max_slice_loss are points of at least 0. Mend them in [promotion]."
            )

    def to_json(self) -> dict[str, Json]:
        """Returns the rules as plain data."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Judgment:
    """What the gate found.

    Attributes:
      verdict: `promote` or `hold`.
      reason: `gain`, `no_gain`, `noise`, `small_gain` or `slice`.
      sentence: What a person can repeat.
      paired: How the new head differs from the one in use.
      p_value: One-sided, of a gain as large by chance.
      level: What it had to be at most.
      slices: The same by group, the worst first.
    """

    verdict: Literal["promote", "hold"]
    reason: str
    sentence: str
    paired: Paired
    p_value: float
    level: float
    slices: tuple[Slice, ...]


def spend(alpha: float, *, look: int, split: int = 1) -> float:
    """Returns the level of one look at a test split: its part of the budget.

    The parts are alpha / (s (s + 1) k (k + 1)) for look k at test split s. Over all
    k and s they add up to alpha, so by the union bound no number of looks, and no
    number of test splits, makes a false promotion likelier than alpha. A gain must
    grow to pass, but slowly: z = 2.2 at the first look, 4.3 at the 50th, 5.1 after a
    year of nights.

    That holds for heads that were made without looking at the test split. The verdict
    is the one thing that comes back from it, and as long as it is `hold` it says
    nothing to follow.

    Args:
      alpha: The budget.
      look: Which look at this test split, from 1.
      split: Which test split of the pipeline, from 1.

    References:
      Foster and Stine, Alpha-investing: a procedure for sequential control of expected
      false discoveries, Journal of the Royal Statistical Society B 70(2), 2008: there
      the rule, alpha-spending, which its own is compared with.
      Tian and Ramdas, Online control of the familywise error rate, Statistical Methods
      in Medical Research 30(4), 2021.
      Blum and Hardt, The Ladder: a reliable leaderboard for machine learning
      competitions, ICML 2015: why verdicts alone leak so little.

    Example:
      >>> [spend(0.05, look=k) for k in (1, 2, 4)]
      [0.0125, 0.004166666666666667, 0.00125]
    """
    assert look >= 1 and split >= 1
    return alpha / (split * (split + 1) * look * (look + 1))


def choose_units(groups: Sequence[str | None]) -> list[str] | None:
    """Returns the groups as units of comparison where they are many.

    Examples of one group, such as photographs of one patient, tend to be right or
    wrong together, so each group counts as one draw. A few groups are parts of the
    data to look at one by one, not draws; then every example is its own.
    """
    names = [group for group in groups if group is not None]
    if len(names) < len(groups) or len(set(names)) < FEWEST_UNITS:
        return None
    return names


def judge(
    current: ArrayLike,
    new: ArrayLike,
    *,
    metric: str,
    look: int,
    split: int = 1,
    rules: Rules,
    rng: np.random.Generator,
    groups: Sequence[str | None] = (),
) -> Judgment:
    """Judges a new head by its scores beside those of the head in use.

    Args:
      current: [N] scores of the head in use; higher is better.
      new: [N] scores of the new head on the same test examples.
      metric: What the mean score is called; a point is a hundredth of it.
      look: Which look at this test split this is, from 1.
      split: Which test split of the pipeline, from 1.
      rules: What a promotion takes.
      rng: Decides the resamples of the interval.
      groups: N group names: slices, and where they are many, units.

    Raises:
      DatasetError: There are no examples, or the two are not of the same ones.
    """
    units = choose_units(groups) if groups else None
    paired = compare_scores(current, new, metric=metric, rng=rng, units=units)
    differences = np.asarray(new, np.float64) - np.asarray(current, np.float64)
    p_value = gain_p_value(sum_by_unit(differences, units)[0])
    level = spend(rules.alpha, look=look, split=split)
    slices = (
        compare_slices(current, new, groups, metric=metric, rng=rng) if groups else []
    )
    reason, finding = _find(paired, p_value, level, slices, rules)
    verdict = "promote" if reason == "gain" else "hold"
    gain, low, high = (100 * figure for figure in paired.difference)
    sentence = (
        f"{verdict.capitalize()}: {gain:+.1f} over the current head {finding} "
        f"(95 % {low:.1f} to {high:.1f}; "
        f"p = {p_value:.2g}, at most {level:.2g} at look {look})"
    )
    return Judgment(verdict, reason, sentence, paired, p_value, level, tuple(slices))


def _find(
    paired: Paired,
    p_value: float,
    level: float,
    slices: Sequence[Slice],
    rules: Rules,
) -> tuple[str, str]:
    """Returns the reason, as a word and as part of a sentence."""
    gain = 100 * paired.difference.value
    if gain <= 0:
        return "no_gain", "is no gain"
    if p_value > level:
        return "noise", "is within noise"
    if gain < rules.min_gain:
        return "small_gain", f"is less than the {rules.min_gain:g} asked for"
    for worst in slices:
        points = 100 * worst.paired.difference.value
        if worst.enough and points < -rules.max_slice_loss:
            return "slice", (
                f"comes with {points:+.1f} on {worst.name}, worse than the "
                f"{-rules.max_slice_loss:+g} allowed"
            )
    return "gain", "is beyond noise"
