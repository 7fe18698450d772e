"""The two classic heads on frozen features, by name."""

from collections.abc import Mapping
from typing import NamedTuple

from tl_pipeline.heads.settings import MlpSettings


class Preset(NamedTuple):
    """A head that is known by a name.

    Attributes:
      settings: What it is trained with.
      is_flattened: Whether it takes a grid of features flattened; else averaged.
    """

    settings: MlpSettings
    is_flattened: bool


# Adam without decay, as the two were published; the last layer's sigmoid or softmax is
# the task's.
PRESETS: Mapping[str, Preset] = {
    "dense512": Preset(
        MlpSettings(hidden=(512,), dropout_hidden=0.5, optimizer="adam"),
        is_flattened=True,
    ),
    "dense128": Preset(
        MlpSettings(hidden=(128,), optimizer="adam"), is_flattened=False
    ),
}
