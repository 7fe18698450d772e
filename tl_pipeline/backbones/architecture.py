"""An architecture with its settings: all that is known before weights are."""

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError
from tl_pipeline.preprocess import ImagePreprocess, Preprocess

# A tensor's name in a file (or several names), a parameter's dotted name here ("" for
# tensors that are left out), and the transform between.
Rule = tuple[str | tuple[str, ...], str, str]

# The parameter of a tensor that no forward pass needs: it may be in a file, or not.
UNUSED = ""

# Dotted names of a classifier begin with it; all others are the trunk's.
CLASSIFIER_PREFIX = "classifier."
# Outputs with these names depend on the classifier's parameters, others never do.
CLASSIFIER_OUTPUTS = ("fc1", "fc2", "logits")
MAX_INPUT = 2048  # pixels a side


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network without weights.

    Attributes:
      name: The registry's name.
      settings: All settings, defaults filled in, plain data.
      preprocess: How an example becomes the input, where the weights do not say.
      classes: K of the published classifier; None where there is none.
      make_network: Makes the Flax module from K, or from None without a classifier.
        Calling the module on [B, H, W, C], on token ids [B, T], or on windows of
        recordings, gives every output by name, in order.
      key_rules: For each file layout it can be loaded from, where every parameter
        comes from, the classifier's included.
      preprocesses: How images become inputs for weights of a layout, where that is
        another way: whoever trained the weights chose it.
      checkpoints: Published weights, each as plain data for a person to read: `name`,
        `file`, `source_dataset`, `license`, `url`.
      bundled: Weights that come with this package; None if none do.
      how_to_get: A sentence: which file to bring where `bundled` is None.
      layout_settings: What weights of a layout were trained with, as an epsilon, where
        that is no default: settings, for whoever asks for none.
      first_kernel: The parameter whose last but one axis is the image's channels, of
        networks that have the setting `channels`.
      source: The digest of what a user's own network computes, else "".
      tokenizer: Of text networks, whose files of a vocabulary come with the weights,
        where no `tokenizer.json` does: a key of `weights.tokenizer_files.FAMILIES`.
      facts: Of text and audio networks, what a `config.json` beside the weights may say
        of the architecture, and must not deny.
    """

    name: str
    settings: Mapping[str, Json]
    preprocess: Preprocess
    classes: int | None
    make_network: Callable[[int | None], Any]
    key_rules: Mapping[str, Sequence[Rule]]
    checkpoints: tuple[Mapping[str, Json], ...]
    bundled: Path | None = None
    how_to_get: str = ""
    preprocesses: Mapping[str, ImagePreprocess] = dataclasses.field(
        default_factory=dict
    )
    layout_settings: Mapping[str, Mapping[str, Json]] = dataclasses.field(
        default_factory=dict
    )
    first_kernel: str = ""
    source: str = ""
    tokenizer: str = ""
    facts: Mapping[str, Json] = dataclasses.field(default_factory=dict)

    @property
    def image_preprocess(self) -> ImagePreprocess:
        """The preprocessing of a network that is known to take images."""
        assert isinstance(self.preprocess, ImagePreprocess), self.name
        return self.preprocess

    @property
    def what(self) -> str:
        """The name with its settings, for messages."""
        shown = ", ".join(f"{key} = {value}" for key, value in self.settings.items())
        return f"{self.name} ({shown})" if shown else self.name


def fill_settings(
    name: str,
    settings: Mapping[str, Json] | None,
    defaults: Mapping[str, Json],
    *,
    later: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """Returns settings with defaults filled in, each of its default's type.

    Args:
      name: The backbone's.
      settings: What was asked for.
      defaults: Of all settings.
      later: Of settings that came after stores were made, which name none of them:
        left out where they are the default.

    Raises:
      BackboneError: A setting is unknown or of another type.

    Example:
      >>> fill_settings("net", {"width": 1}, {"width": 0.5, "depth": 3})
      {'width': 1.0, 'depth': 3}
      >>> fill_settings("net", {}, {"depth": 3}, later={"channels": 3})
      {'depth': 3}
    """
    filled, later = dict(defaults), later or {}
    defaults = {**defaults, **later}
    for key, value in (settings or {}).items():
        if key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise BackboneError(
                f"Asked for {name} with the setting {key!r}; it has "
                f"{', '.join(defaults) or 'none'}.{hint}"
            )
        kind = type(defaults[key])
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise BackboneError(
                f"Asked for {name} with {key} = {value!r}; it takes a {kind.__name__}, "
                f"as in {key} = {defaults[key]!r}."
            )
        filled[key] = value
    return {
        key: value
        for key, value in filled.items()
        if key not in later or value != later[key]
    }


def check_input_size(name: str, size: Json, *, least: int) -> int:
    """Returns the setting `input_size`, pixels a side.

    Raises:
      BackboneError: It is below `least`, which the network's strides take, or huge.
    """
    if not (isinstance(size, int) and least <= size <= MAX_INPUT):
        raise BackboneError(
            f"Asked for {name} with input_size = {size}; it takes {least} to "
            f"{MAX_INPUT}."
        )
    return size


def check_epsilon(name: str, epsilon: Json) -> float:
    """Returns the setting `epsilon`, which is added to variances.

    Raises:
      BackboneError: It is not from 0 to below 1.
    """
    if not (isinstance(epsilon, float) and 0 <= epsilon < 1):
        raise BackboneError(
            f"Asked for {name} with epsilon = {epsilon}; it takes 0 to below 1, as in "
            "epsilon = 1e-5."
        )
    return epsilon


def check_channels(name: str, channels: Json) -> int:
    """Returns the setting `channels`: 3 of color images, 1 of gray ones.

    Raises:
      BackboneError: It is another number.
    """
    if channels not in (1, 3) or not isinstance(channels, int):
        raise BackboneError(
            f"Asked for {name} with channels = {channels}; it takes 3, of color "
            "images, or 1, of gray ones."
        )
    return channels
