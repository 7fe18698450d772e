"""What whoever published weights says of them: their files, and the input they want."""

import dataclasses
import functools
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.digest import Json
from tl_pipeline.preprocess import ImagePreprocess

CLASSES = 1000  # of ImageNet-1k, on which most are trained

_DIGITS = re.compile(r"-[0-9a-f]{8}(?=\.pth)")
_OF_INPUTS = ("resize_size", "crop_size", "crop_pct", "interpolation", "mean", "std")


def checkpoint_preprocess(
    checkpoint: Mapping[str, Any], usual: ImagePreprocess
) -> ImagePreprocess:
    """Returns how images become inputs for published weights.

    Args:
      checkpoint: Of `Architecture.checkpoints`.
      usual: Of such files: what the checkpoint does not say, and the size, whose share
        of the resized image the crop keeps.
    """
    side = max(usual.size)
    if "preprocess" in checkpoint:
        settings = as_settings(checkpoint["preprocess"])
        if settings.get("resize_size"):  # the whole image, of whatever size is asked
            settings["resize_size"] = max(settings["resize_size"], side)
        return dataclasses.replace(usual, **settings)
    if "crop_size" not in checkpoint:
        return usual
    if "resize_size" in checkpoint:  # torchvision's word
        resize = side * checkpoint["resize_size"] / checkpoint["crop_size"]
    else:  # timm's; rounded down, as there
        resize = math.floor(side / checkpoint["crop_pct"])
    return dataclasses.replace(
        usual,
        resize="short",
        resize_size=round(resize),
        interpolation=checkpoint["interpolation"],
        mean=tuple(checkpoint.get("mean", usual.mean)),
        std=tuple(checkpoint.get("std", usual.std)),
    )


def as_settings(table: Json) -> dict[str, Any]:
    """Returns a table of published facts, its lists as tuples, "none" as None."""
    if not isinstance(table, Mapping):
        return {}
    return {
        key: None if item == "none" else tuple(item) if isinstance(item, list) else item
        for key, item in table.items()
    }


def find_checkpoint(
    checkpoints: Sequence[Mapping[str, Json]],
    *,
    file: str,
    sha256: str = "",
    layout: str = "",
    hub: str = "",
) -> Mapping[str, Json] | None:
    """Returns the published weights that a file is, by what it is called.

    Args:
      checkpoints: Of an architecture.
      file: The file's name; its ending may be another. Of PyTorch's files the digits in
        their names suffice, as in `resnet50-0676ba61.pth`, whatever else the name
        became, or the file's digest, which begins with these digits.
      sha256: The file's digest, if it is known.
      layout: Of the names in the file, if it is known.
      hub: The repository it is from: all of them call their files alike.
    """
    for checkpoint in checkpoints:
        if layout and checkpoint.get("layout", layout) != layout:
            continue
        if hub or "hub" in checkpoint:
            if checkpoint.get("hub") == hub:
                return checkpoint
            continue
        known = str(checkpoint["file"])
        digits = _DIGITS.search(known)
        named = Path(file).stem == Path(known).stem
        if digits:
            named |= digits[0] in file or sha256.startswith(digits[0][1:])
        if named:
            return checkpoint
    return None


def describe_checkpoint(
    architecture: Architecture, checkpoint: Mapping[str, Json]
) -> dict[str, Json]:
    """Returns a checkpoint's facts, and how it wants inputs to be prepared."""
    hub, suffix = str(checkpoint.get("hub", "")), Path(str(checkpoint["file"])).suffix
    if hub:
        layout = "timm" if hub.startswith("timm/") else "transformers"
    else:
        layout = {".h5": "keras-h5", ".npz": "google-npz"}.get(suffix, "torchvision")
    usual = architecture.preprocesses.get(layout, architecture.preprocess)
    facts = {key: checkpoint[key] for key in checkpoint if key not in _OF_INPUTS}
    if isinstance(usual, ImagePreprocess):
        usual = checkpoint_preprocess(checkpoint, usual)
    return {**facts, "preprocess": usual.to_json()}


def list_checkpoints(
    name: str, *, width: float | None = None
) -> tuple[Mapping[str, Json], ...]:
    """Returns the published weights of a backbone, as `Architecture.checkpoints`.

    Args:
      name: The backbone's.
      width: Of a network that has several: only its weights are listed.
    """
    return tuple(
        _fill_facts({key: fact for key, fact in entry.items() if key != "width"})
        for entry in _read_checkpoints().get(name, [])
        if width is None or entry["width"] == width
    )


def say_how_to_get(name: str, *, width: float | None = None) -> str:
    """Returns the sentence that says which files to bring, and from where.

    Arguments as for `list_checkpoints`.
    """
    known = "; ".join(
        f"{entry['file']} ({entry['url']})"
        for entry in list_checkpoints(name, width=width)
    )
    if not known:
        return "Nobody publishes any: give a file of your own, or random:SEED."
    return (
        f"Bring one of its published files, and give its path as the weights: {known}"
    )


def _fill_facts(entry: Mapping[str, Json]) -> dict[str, Json]:
    facts = {"source_dataset": "ImageNet-1k (ILSVRC 2012)", **entry}
    if "hub" in facts:
        at_hub = {
            "file": "model.safetensors",
            "url": f"https://huggingface.co/{facts['hub']}",
        }
        facts = at_hub | facts
    if "url" in facts:
        facts.setdefault("digest", "unpinned")
    return {"name": facts.get("hub", facts["file"]), **facts}


@functools.cache
def _read_checkpoints() -> dict[str, list[dict[str, Json]]]:
    text = files("tl_pipeline.backbones").joinpath("checkpoints.toml").read_text()
    return tomllib.loads(text)
