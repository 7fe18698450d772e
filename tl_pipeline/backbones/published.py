"""What whoever published weights says of them: their files, and the input they want."""

import functools
import tomllib
from collections.abc import Mapping
from importlib.resources import files

from tl_pipeline.digest import Json
from tl_pipeline.spec import ImagePreprocess

CLASSES = 1000  # of ImageNet-1k, on which most are trained

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

# keras.applications' ways: (color, scale, mean, std).
_KERAS_MODES = {
    "caffe": ("bgr", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "tf": ("rgb", 1 / 127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "tf-128": ("rgb", 1 / 128, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "torch": ("rgb", 1 / 255, _IMAGENET_MEAN, _IMAGENET_STD),
}


def keras_preprocess(mode: str, size: int) -> ImagePreprocess:
    """Returns the input of a `keras.applications` network.

    Args:
      mode: `"caffe"` (BGR less the mean), `"tf"` (-1 to 1), `"tf-128"` (-1 to nearly
        1) or `"torch"`.
      size: Pixels a side.
    """
    color, scale, mean, std = _KERAS_MODES[mode]
    return ImagePreprocess(
        color=color,
        resize="short",
        resize_size=round(size * 256 / 224),
        size=(size, size),
        interpolation="bilinear",
        scale=scale,
        mean=mean,
        std=std,
    )


def torch_preprocess(
    size: int,
    *,
    crop: float = 0.875,
    interpolation: str = "bilinear",
    mean: tuple[float, ...] = _IMAGENET_MEAN,
    std: tuple[float, ...] = _IMAGENET_STD,
) -> ImagePreprocess:
    """Returns the input of a torchvision or timm network.

    Args:
      size: Pixels a side.
      crop: Share of the shorter side that is kept.
      interpolation: Of the resizing.
      mean: One value a channel, of values from 0 to 1.
      std: Likewise.
    """
    return ImagePreprocess(
        color="rgb",
        resize="short",
        resize_size=int(size / crop),
        size=(size, size),
        interpolation=interpolation,
        scale=1 / 255,
        mean=mean,
        std=std,
    )


def gray_preprocess(size: int, *, crop: float = 0.875) -> ImagePreprocess:
    """Returns the input of a network of one channel, where its weights do not say.

    ImageNet's mean and deviation of the three colors, averaged; 16 bits are kept.

    Args:
      size: Pixels a side.
      crop: Share of the shorter side that is kept.
    """
    return ImagePreprocess(
        color="gray",
        resize="short",
        resize_size=int(size / crop),
        size=(size, size),
        interpolation="bilinear",
        scale=1 / 255,
        mean=(round(sum(_IMAGENET_MEAN) / 3, 4),),
        std=(round(sum(_IMAGENET_STD) / 3, 4),),
        decoder="pillow-16",
    )


def list_checkpoints(name: str) -> tuple[Mapping[str, Json], ...]:
    """Returns the published weights of a backbone, as `Architecture.checkpoints`."""
    return tuple(
        {"source_dataset": "ImageNet-1k (ILSVRC 2012)", "digest": "unpinned", **entry}
        for entry in _read_checkpoints().get(name, [])
    )


def say_how_to_get(name: str) -> str:
    """Returns the sentence that says which files to bring, and from where."""
    known = "; ".join(
        f"{entry['file']} ({entry['url']})" for entry in list_checkpoints(name)
    )
    return (
        f"Bring one of its published files, and give its path as the weights: {known}"
    )


@functools.cache
def _read_checkpoints() -> dict[str, list[dict[str, Json]]]:
    text = files("tl_pipeline.backbones").joinpath("checkpoints.toml").read_text()
    return tomllib.loads(text)
