"""A recipe: which augmentations, and how strong. Plain settings, checked."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError

Range = tuple[float, float]
STRONGEST = 30  # magnitude of RandAugment


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is done to an image, in this order; the defaults do nothing.

    Attributes:
      crop_scale: Least and largest share of the area that a random resized crop
        takes; (1, 1): no crop.
      crop_ratio: Its least and largest width over height.
      horizontal_flip: Probability.
      vertical_flip: Probability.
      quarter_turns: Whether to turn by a random multiple of 90°; square images only.
      rotation: Largest angle in degrees, either way.
      translation: Largest shift as a share of width and height, either way.
      randaugment: Number of RandAugment's operations; 0: none.
      randaugment_magnitude: Their strength, 0 to 30.
      brightness: Color jitter: factors of 1 ± this.
      contrast: Likewise.
      saturation: Likewise.
      hue: Turns of the color circle, ± this, at most 0.5.
      blur: Probability of a Gaussian blur.
      blur_sigma: Its least and largest deviation in pixels.
      erasing: Probability of random erasing.
      erasing_scale: Least and largest share of the area erased.
      mixup: α of Beta(α, α) for mixup; 0: none.
      cutmix: α for CutMix; 0: none. With both, each example has one of them.
    """

    crop_scale: Range = (1.0, 1.0)
    crop_ratio: Range = (3 / 4, 4 / 3)
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    quarter_turns: bool = False
    rotation: float = 0.0
    translation: float = 0.0
    randaugment: int = 0
    randaugment_magnitude: float = 9.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    blur_sigma: Range = (0.1, 2.0)
    erasing: float = 0.0
    erasing_scale: Range = (0.02, 0.33)
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("crop_scale", "erasing_scale"):
            _check_range(name, getattr(self, name), 0, 1)
        for name in ("crop_ratio", "blur_sigma"):
            _check_range(name, getattr(self, name), 0, math.inf)
        for name in ("horizontal_flip", "vertical_flip", "blur", "erasing"):
            _check_number(name, getattr(self, name), 0, 1)
        _check_number("rotation", self.rotation, 0, 180)
        _check_number("translation", self.translation, 0, 1)
        _check_number("hue", self.hue, 0, 0.5)
        for name in ("brightness", "contrast", "saturation", "mixup", "cutmix"):
            _check_number(name, getattr(self, name), 0, math.inf)
        _check_number("randaugment_magnitude", self.randaugment_magnitude, 0, STRONGEST)
        if type(self.randaugment) is not int or self.randaugment < 0:
            raise ConfigError(
                f"Augmentation asks for randaugment = {self.randaugment!r}: give the "
                "number of operations, from 0."
            )
        if type(self.quarter_turns) is not bool:
            raise ConfigError(
                f"Augmentation asks for quarter_turns = {self.quarter_turns!r}: give "
                "true or false."
            )

    @property
    def is_cropping(self) -> bool:
        """Whether a part of the image is taken."""
        return self.crop_scale != (1.0, 1.0)

    @property
    def is_placing(self) -> bool:
        """Whether pixels are to be elsewhere."""
        flips = self.horizontal_flip or self.vertical_flip or self.quarter_turns
        moves = self.rotation or self.translation
        return bool(self.is_cropping or flips or moves)

    @property
    def is_mixing(self) -> bool:
        """Whether examples are mixed with others, and targets with them."""
        return self.mixup > 0 or self.cutmix > 0

    def to_json(self) -> dict[str, Json]:
        """Returns every setting as plain data: its digest names the recipe."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


_LIGHT: Mapping[str, Any] = {"crop_scale": (0.5, 1.0), "horizontal_flip": 0.5}
# By name: the settings that differ from doing nothing.
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "light": _LIGHT,
    "strong": {
        **_LIGHT,
        "crop_scale": (0.25, 1.0),
        "randaugment": 2,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.05,
        "blur": 0.1,
        "erasing": 0.25,
        "mixup": 0.2,
        "cutmix": 1.0,
    },
}


def make_recipe(name: str, settings: Mapping[str, Json] | None = None) -> Recipe:
    """Makes a recipe from a name and settings that differ from it.

    Args:
      name: One of `RECIPES`.
      settings: By name, as TOML or JSON gives them: lists stand for ranges.

    Raises:
      ConfigError: There is no such name, or a setting is unknown or unfit.

    Example:
      >>> make_recipe("light", {"rotation": 10.0}).rotation
      10.0
    """
    if name not in RECIPES:
        raise ConfigError(
            f"Asked for the augmentation {name!r}; known are {', '.join(RECIPES)}. "
            "Name one, and change single settings of it."
        )
    known = [field.name for field in dataclasses.fields(Recipe)]
    given = dict(settings or {})
    unknown = [key for key in given if key not in known]
    if unknown:
        raise ConfigError(
            f"Augmentation has no setting {', '.join(unknown)}; known are "
            f"{', '.join(known)}."
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return Recipe(**{**RECIPES[name], **values})


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and low <= value <= high:
        return
    bounds = f"from {low}" if high == math.inf else f"from {low} to {high}"
    raise ConfigError(
        f"Augmentation asks for {name} = {value!r}: give a number {bounds}."
    )


def _check_range(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, tuple) or len(value) != 2:
        raise ConfigError(
            f"Augmentation asks for {name} = {value!r}: give the least and the largest."
        )
    for end in value:
        _check_number(name, end, low, high)
    if not 0 < value[0] <= value[1]:
        raise ConfigError(
            f"Augmentation asks for {name} = {list(value)}: give two numbers above 0, "
            "the smaller one first."
        )
