"""Source strings: how a person names weights, the same everywhere.

path/to/file.h5                      a file, also .safetensors, .pth, .npz, ...
pretrained                           the architecture's own default
hf:OWNER/NAME[@REVISION][:FILE]      a repository of the Hugging Face hub
random:SEED                          untrained, for baselines and tests
"""

import dataclasses
import re
from pathlib import Path
from typing import NamedTuple

from tl_pipeline.errors import WeightsError

PRETRAINED = "pretrained"
RANDOM_PREFIX = "random:"
HUB_PREFIX = "hf:"
MAX_SEED = 2**64
_WORD = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_HUB_NAME = re.compile(
    rf"(?P<repository>{_WORD}/{_WORD})(@(?P<revision>[\w./-]+))?(:(?P<file>[\w./-]+))?",
    re.ASCII,
)


class HubName(NamedTuple):
    """A repository of the hub, a branch, tag or commit, and a file; empty is any."""

    repository: str
    revision: str = "main"
    file: str = ""

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision != "main" else ""
        return f"{HUB_PREFIX}{self.repository}{at}" + (self.file and f":{self.file}")


@dataclasses.dataclass(frozen=True)
class WeightsSource:
    """A source string taken apart.

    Attributes:
      text: The string as it was given.
      kind: `"file"`, `"pretrained"`, `"hub"` or `"random"`.
      path: The file, for `"file"`.
      seed: The seed, for `"random"`.
      hub: What to fetch, for `"hub"`.
    """

    text: str
    kind: str
    path: Path | None = None
    seed: int | None = None
    hub: HubName | None = None


def parse_source(text: str) -> WeightsSource:
    """Takes a source string apart; nothing is opened.

    Raises:
      WeightsError: The string is empty, its seed is no whole number, or what follows
        `hf:` names no repository.

    Example:
      >>> parse_source("random:7").seed
      7
    """
    if not text:
        raise WeightsError(
            "Asked for weights with an empty name: give a file, pretrained, "
            "hf:OWNER/NAME, or random:SEED."
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
        match = _HUB_NAME.fullmatch(text.removeprefix(HUB_PREFIX))
        if match is None or ".." in text:
            raise WeightsError(
                f"Asked for weights {text!r}: this names no repository of the hub. "
                "Write hf:OWNER/NAME[@REVISION][:FILE], as in "
                "hf:timm/resnet50.a1_in1k:model.safetensors."
            )
        said = {key: value for key, value in match.groupdict().items() if value}
        return WeightsSource(text, "hub", hub=HubName(**said))
    return WeightsSource(text, "file", path=Path(text).expanduser())
