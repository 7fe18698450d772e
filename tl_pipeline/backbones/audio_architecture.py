"""What all families of audio backbones share: their settings, and their facts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tl_pipeline.backbones.architecture import Architecture, Rule, fill_settings
from tl_pipeline.backbones.audio_transformer import Shape
from tl_pipeline.backbones.published import list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError
from tl_pipeline.preprocess import AudioPreprocess

RATE = 16_000  # samples a second, of all published weights
MAX_WINDOWS = 2**16
MAX_LENGTH = 2**14  # frames


def make_audio_architecture(
    name: str,
    shape: Shape,
    settings: Mapping[str, Json] | None,
    *,
    make_preprocess: Callable[[Shape, int], AudioPreprocess],
    make_network: Callable[[Shape], Any],
    make_rules: Callable[[Shape], Mapping[str, Sequence[Rule]]],
    make_facts: Callable[[Shape], Mapping[str, Json]],
    has_length: bool = False,
) -> Architecture:
    """Returns an audio architecture with its settings.

    Args:
      name: The registry's.
      shape: With its defaults.
      settings: `max_windows`, the most windows of a recording, 0 for all; and where
        weights of other lengths are published, `max_length`, frames of a window.
      make_preprocess: Gives the front end of a shape, with the most windows.
      make_network: Makes the module.
      make_rules: Gives the key rules of each layout.
      make_facts: Gives what a `config.json` beside the weights must not deny.
      has_length: Whether there is the setting `max_length`.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    defaults: dict[str, Json] = {"max_windows": 0}
    if has_length:
        defaults["max_length"] = shape.length
    filled = fill_settings(name, settings, defaults)
    windows, length = filled["max_windows"], filled.get("max_length", shape.length)
    assert isinstance(windows, int) and isinstance(length, int)
    if not 0 <= windows <= MAX_WINDOWS:
        raise BackboneError(
            f"Asked for {name} with max_windows = {windows}; it takes 1 to "
            f"{MAX_WINDOWS:,}, or 0 for all of a recording."
        )
    if has_length and not 16 <= length <= MAX_LENGTH:
        raise BackboneError(
            f"Asked for {name} with max_length = {length}; it takes 16 to "
            f"{MAX_LENGTH:,} frames."
        )
    shape = shape._replace(length=length)
    return Architecture(
        name=name,
        settings=filled,
        preprocess=make_preprocess(shape, windows),
        classes=None,
        make_network=lambda classes: make_network(shape),
        key_rules=make_rules(shape),
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
        facts=make_facts(shape),
    )
