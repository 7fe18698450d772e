"""The verdict: did the transfer help, against what one would have had without it?"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.errors import ConfigError
from tl_pipeline.evaluation.uncertainty import paired_difference

RANDOM_PREFIX = "random:"


@dataclasses.dataclass(frozen=True)
class Gain:
    """How much better a head is than one baseline.

    Attributes:
      against: The baseline's name.
      points: The difference of the accuracies, or other scores, in hundredths.
      low: The lower end of its interval.
      high: The upper end.
      n: Test examples.
      n_seeds: Seeds over which both were averaged.
      unit: What a point is called.
    """

    against: str
    points: float
    low: float
    high: float
    n: int
    n_seeds: int
    unit: str = "points"

    @property
    def verdict(self) -> Literal["positive", "none", "negative"]:
        """`none` where the interval holds 0, else the sign of the gain."""
        if self.low > 0:
            return "positive"
        return "negative" if self.high < 0 else "none"

    def phrase(self) -> str:
        """Returns e.g. `+18.2 points over raw pixels (95 % 14.9 to 21.6)`."""
        return (
            f"{self.points:+.1f} {self.unit} over {describe_baseline(self.against)} "
            f"(95 % {self.low:.1f} to {self.high:.1f})"
        )


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The judgment of a transfer, against the strongest baseline, and all gains.

    Attributes:
      decisive: The gain over the strongest baseline, the smallest one.
      gains: The gain over each baseline, in the order given.
      unit: What the examples are called.
    """

    decisive: Gain
    gains: tuple[Gain, ...]
    unit: str

    @property
    def verdict(self) -> Literal["positive", "none", "negative"]:
        """`positive`, `none` or `negative`, against the strongest baseline."""
        return self.decisive.verdict

    def sentence(self) -> str:
        """Returns the one sentence a person can repeat."""
        gain = self.decisive
        unit = self.unit if gain.n != 1 else self.unit.removesuffix("s")
        # A convex head on all the data has nothing random to repeat.
        seeds = f", {gain.n_seeds} seeds" if gain.n_seeds > 1 else ""
        return f"Transfer: {self.verdict}, {gain.phrase()}, {gain.n:,} {unit}{seeds}"

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict, its sentence and every gain as plain data."""
        plain = dataclasses.asdict(self.decisive)
        plain["verdict"] = self.verdict
        plain["sentence"] = self.sentence()
        plain["gains"] = [
            dataclasses.asdict(gain) | {"verdict": gain.verdict} for gain in self.gains
        ]
        return plain


def judge_transfer(
    compared: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    rng: np.random.Generator,
    unit: str = "test images",
    points: str = "points",
    n_resamples: int = 2000,
) -> Verdict:
    """Judges a transfer by the baseline that comes closest to it.

    A transfer that beats raw pixels but not the same network untrained owes nothing to
    what was learned before; so every baseline has to be beaten, and the verdict names
    the strongest. That one is found on the same test examples, which can only make the
    verdict more cautious: the gain over it is the smallest one.

    Args:
      compared: By baseline name, what the head and what the baseline get for each
        example: two [N] or [S, N] arrays, bool where it is right or wrong, over the
        same test examples and seeds. The head should have been trained on the examples
        that the baseline was trained on.
      rng: Decides the resamples of the paired bootstrap.
      unit: What the sentence calls the examples.
      points: What it calls a hundredth.
      n_resamples: How many.

    Raises:
      ConfigError: There is no baseline.
      DatasetError: Head and baseline are not right or wrong on the same examples.
    """
    if not compared:
        raise ConfigError(
            "Asked whether the transfer helped, found no baseline to compare with. "
            "Name pixels or random:0 under [baselines]."
        )
    gains = []
    for name, (head, baseline) in compared.items():
        interval = paired_difference(head, baseline, rng=rng, n_resamples=n_resamples)
        n_seeds, n = np.atleast_2d(head).shape
        figures = (100 * figure for figure in interval)
        gains.append(Gain(name, *figures, n=n, n_seeds=n_seeds, unit=points))
    return Verdict(min(gains, key=lambda gain: gain.points), tuple(gains), unit)


def describe_baseline(name: str) -> str:
    """Returns what a sentence calls a baseline.

    Example:
      >>> describe_baseline("pixels"), describe_baseline("random:0")
      ('raw pixels', 'the same network untrained (random:0)')
    """
    if name == "pixels":
        return "raw pixels"
    if name.startswith(RANDOM_PREFIX):
        return f"the same network untrained ({name})"
    return name
