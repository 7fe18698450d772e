"""Baselines: what a head is compared with, to say whether the transfer helped."""

import dataclasses
from collections.abc import Sequence

from tl_pipeline.backbones.architecture import CLASSIFIER_OUTPUTS
from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError
from tl_pipeline.preprocess import ImagePreprocess
from tl_pipeline.spec import parse_feature
from tl_pipeline.stages.backbones import Backbone, load_backbone

PIXELS, BAG_OF_WORDS = "pixels", "bag_of_words"
RANDOM_PREFIX = "random:"
# 3,072 values in color, what CIFAR-10's raw-pixel baselines have.
MAX_PIXELS_A_SIDE = 32


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A backbone to compare with, extracted on a stratified part of the dataset.

    Attributes:
      name: What it is called: `pixels`, `bag_of_words`, or `random:SEED`.
      backbone: What computes its features.
      features: Its feature names.
    """

    name: str
    backbone: Backbone
    features: tuple[str, ...]


def load_baselines(
    names: Sequence[str], *, beside: Backbone, features: Sequence[str]
) -> list[Baseline]:
    """Loads the baselines of a backbone.

    Args:
      names: `pixels` of images, `bag_of_words` of texts, and `random:SEED` for the same
        architecture untrained. Those of another kind of input are passed over.
      beside: The backbone they are compared with; one that is itself untrained, or
        itself a baseline, is not compared with itself.
      features: Its feature names.

    Raises:
      ConfigError: A name is none of these.
    """
    baselines = []
    for name in dict.fromkeys(names):
        inputs = beside.preprocess
        if name == PIXELS:
            if isinstance(inputs, ImagePreprocess) and beside.name != PIXELS:
                pixels = load_backbone(PIXELS, settings=_pixel_settings(inputs))
                baselines.append(Baseline(name, pixels, ("pool",)))
        elif name == BAG_OF_WORDS:
            if inputs.takes == "texts" and beside.name != BAG_OF_WORDS:
                baselines.append(Baseline(name, load_backbone(name), ("pool",)))
        elif name.startswith(RANDOM_PREFIX):
            if beside.needs_accelerator and beside.weights != name:
                untrained = load_backbone(
                    beside.name,
                    weights=name,
                    settings=beside.settings,
                    preprocess=None if isinstance(inputs, ImagePreprocess) else inputs,
                )
                kept = tuple(
                    name
                    for name in features
                    if parse_feature(name).output not in CLASSIFIER_OUTPUTS
                )
                baselines.append(Baseline(name, untrained, kept or ("pool",)))
        else:
            raise ConfigError(
                f"Asked for the baseline {name!r}; known are pixels, bag_of_words and "
                "random:SEED."
            )
    return baselines


def _pixel_settings(beside: ImagePreprocess) -> dict[str, Json]:
    """Returns the pixels' settings: the colors of the input, at most 32 a side."""
    height, width, _ = beside.input_shape
    color = "gray" if beside.color == "gray" else "rgb"
    return {"size": min(MAX_PIXELS_A_SIDE, height, width), "color": color}
