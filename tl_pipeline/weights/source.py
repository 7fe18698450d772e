"""Source strings: how a person names weights, the same everywhere.

path/to/file.h5   a file, also .safetensors
pretrained        the architecture's own default
random:SEED       untrained, for baselines and tests
"""

import dataclasses
from pathlib import Path

from tl_pipeline.errors import WeightsError

PRETRAINED = "pretrained"
RANDOM_PREFIX = "random:"
HUB_PREFIX = "hf:"
MAX_SEED = 2**64


@dataclasses.dataclass(frozen=True)
class WeightsSource:
    """A source string taken apart.

    Attributes:
      text: The string as it was given.
      kind: `"file"`, `"pretrained"` or `"random"`.
      path: The file, for `"file"`.
      seed: The seed, for `"random"`.
    """

    text: str
    kind: str
    path: Path | None = None
    seed: int | None = None


def parse_source(text: str) -> WeightsSource:
    """Takes a source string apart; nothing is opened.

    Raises:
      WeightsError: The string is empty, its seed is no whole number, or it names a
        hub, from which this version does not download.

    Example:
      >>> parse_source("random:7").seed
      7
    """
    if not text:
        raise WeightsError(
            "Asked for weights with an empty name: give a .h5 or .safetensors file, "
            "pretrained, or random:SEED."
        )
    if text == PRETRAINED:
        return WeightsSource(text, "pretrained")
    if text.startswith(RANDOM_PREFIX):
        seed = text.removeprefix(RANDOM_PREFIX)
        # isascii: isdecimal alone takes other scripts' digits too.
        if not (seed.isascii() and seed.isdecimal() and int(seed) < MAX_SEED):
            raise WeightsError(
                f"Asked for weights {text!r}: {seed!r} is no seed. Write random:SEED "
                "with a whole number from 0, as in random:0."
            )
        return WeightsSource(text, "random", seed=int(seed))
    if text.startswith(HUB_PREFIX):
        raise WeightsError(
            f"Asked for weights {text!r}: this version downloads nothing from a hub. "
            "Download the file yourself and give its path."
        )
    return WeightsSource(text, "file", path=Path(text).expanduser())
