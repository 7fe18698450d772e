"""How images become inputs, as a checkpoint's own neighbours say.

timm's `config.json` and transformers' `preprocessor_config.json` lie beside the weights
in their repositories, and say how the images were prepared that these were trained on.
The number of pixels a side stays the network's: a crop's share of the resized image is
kept for whatever size that is.
"""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_pipeline.errors import RequestError, WeightsError, shorten
from tl_pipeline.preprocess import ImagePreprocess
from tl_pipeline.weights.beside import read_fields, refuse_field

_TIMM, _TRANSFORMERS = "config.json", "preprocessor_config.json"
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's
# Where it stands beside a crop, ConvNeXt's processor resizes by `crop_pct`.
_CONVNEXT_EXACT = 384


def read_preprocess(weights: Path, default: ImagePreprocess) -> ImagePreprocess:
    """Returns how images become inputs for a file of weights.

    Args:
      weights: The file; what lies beside it in its folder is looked at.
      default: Where nothing does; its size is kept in any case.

    Raises:
      WeightsError: What lies there says something that cannot be done; the message
        names the field.
    """
    for name, read in ((_TRANSFORMERS, _read_transformers), (_TIMM, _read_timm)):
        path = weights.parent / name
        if not path.is_file():
            continue
        said = read_fields(path)
        try:
            found = read(path, said, default)
        except (RequestError, TypeError, ValueError, ArithmeticError) as error:
            if isinstance(error, WeightsError):
                raise
            raise WeightsError(
                f"Preprocessing {path} beside the weights cannot be used: "
                f"{shorten(error)}. Correct it, or take it away for the usual one."
            ) from error
        if found is not None:
            return found
    return default


def _read_timm(
    path: Path, said: Mapping[str, Any], default: ImagePreprocess
) -> ImagePreprocess | None:
    config = said.get("pretrained_cfg")
    if config is None:  # transformers' own config.json says nothing of images
        return None
    if not isinstance(config, dict):
        refuse_field(path, "pretrained_cfg", config)
    crop_pct = _number(path, config, "crop_pct", 0.875)
    mode = config.get("crop_mode", "center")
    if mode not in ("center", "squash") or (mode == "squash" and crop_pct != 1):
        refuse_field(path, "crop_mode", mode)
    size = config.get("input_size", [default.channels, *default.size])
    if not isinstance(size, list) or len(size) != 3 or size[0] != default.channels:
        refuse_field(path, "input_size", size)
    # As timm's transforms_imagenet_eval: rounded down.
    resize_size = math.floor(max(default.size) / crop_pct)
    return dataclasses.replace(
        default,
        resize="exact" if mode == "squash" else "short",
        resize_size=None if mode == "squash" else resize_size,
        interpolation=_interpolation(path, "interpolation", config),
        scale=1 / 255,
        mean=_channels(path, config, "mean"),
        std=_channels(path, config, "std"),
    )


def _read_transformers(
    path: Path, said: Mapping[str, Any], default: ImagePreprocess
) -> ImagePreprocess:
    if said.get("do_resize", True) is not True:
        refuse_field(path, "do_resize", said["do_resize"])
    shorter, sides = _read_size(path, said)
    crops = said.get("do_center_crop", False)
    if crops not in (True, False):
        refuse_field(path, "do_center_crop", crops)
    cropped = _read_side(path, said, "crop_size") if crops else None
    if not crops and shorter and "crop_pct" in said:
        crop_pct = _number(path, said, "crop_pct", 1.0)
        cropped = shorter
        if shorter < _CONVNEXT_EXACT:
            shorter = int(shorter / crop_pct)
        else:
            shorter, sides, cropped = None, shorter, None
    if shorter and not cropped:
        refuse_field(path, "size", said["size"])  # inputs of no one size
    if sides and cropped not in (None, sides):
        refuse_field(path, "crop_size", said["crop_size"])
    if said.get("do_rescale", True) is not True:
        refuse_field(path, "do_rescale", said["do_rescale"])
    normalizes = said.get("do_normalize", True)
    if normalizes not in (True, False):
        refuse_field(path, "do_normalize", normalizes)
    resize_size = None
    if shorter and cropped:
        resize_size = round(shorter / cropped * max(default.size))
    n = default.channels
    return dataclasses.replace(
        default,
        resize="short" if resize_size else "exact",
        resize_size=resize_size,
        interpolation=_interpolation(path, "resample", said),
        scale=_number(path, said, "rescale_factor", 1 / 255),
        mean=_channels(path, said, "image_mean") if normalizes else (0.0,) * n,
        std=_channels(path, said, "image_std") if normalizes else (1.0,) * n,
    )


def _read_size(path: Path, said: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Returns the shorter side to resize to, or else both sides."""
    size = said.get("size")
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        return _side(path, "size", size["shortest_edge"]), None
    # A bare number is the shorter side where a crop follows, and both where none does.
    if not isinstance(size, dict) and said.get("do_center_crop"):
        return _side(path, "size", size), None
    return None, _read_side(path, said, "size")


def _read_side(path: Path, said: Mapping[str, Any], field: str) -> int:
    size = said.get(field)
    if isinstance(size, dict):
        if set(size) != {"height", "width"} or size["height"] != size["width"]:
            refuse_field(path, field, size)
        size = size["height"]
    return _side(path, field, size)


def _side(path: Path, field: str, side: Any) -> int:
    if type(side) is not int or not 0 < side < 2**16:
        refuse_field(path, field, side)
    return side


def _number(path: Path, said: Mapping[str, Any], field: str, default: float) -> float:
    value = said.get(field, default)
    if type(value) not in (int, float) or not 0 < value <= 1:
        refuse_field(path, field, value)
    return float(value)


def _channels(path: Path, said: Mapping[str, Any], field: str) -> tuple[float, ...]:
    values = said.get(field)
    if not isinstance(values, list) or not all(
        type(value) in (int, float) and math.isfinite(value) for value in values
    ):
        refuse_field(path, field, values)
    return tuple(map(float, values))


def _interpolation(path: Path, field: str, said: Mapping[str, Any]) -> str:
    value = said.get(field, "bilinear")
    name = _RESAMPLE.get(value) if type(value) is int else value
    if name not in _RESAMPLE.values():
        refuse_field(path, field, value)
    return str(name)
