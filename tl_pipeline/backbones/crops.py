"""How published checkpoints prepare images, all square: makers of preprocessing."""

import math

from tl_pipeline.preprocess import ImagePreprocess

# (mean, standard deviation) of pixels from 0 to 1
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

Colors = tuple[tuple[float, ...], tuple[float, ...]]

# keras.applications' ways: (color, scale, (mean, standard deviation)).
_ONES = (1.0, 1.0, 1.0)
_KERAS_MODES = {
    "caffe": ("bgr", 1.0, ((103.939, 116.779, 123.68), _ONES)),
    "tf": ("rgb", 1 / 127.5, (_ONES, _ONES)),
    "tf-128": ("rgb", 1 / 128, (_ONES, _ONES)),
    "torch": ("rgb", 1 / 255, IMAGENET),
}


def center_crop(
    size: int,
    *,
    share: float = 0.875,
    colors: Colors = IMAGENET,
    interpolation: str = "bilinear",
) -> ImagePreprocess:
    """Returns a crop from the center of the image's shorter side, as PyTorch has it.

    Args:
      size: Pixels a side.
      share: Of the shorter side that the crop takes: timm's `crop_pct`.
      colors: Mean and standard deviation.
      interpolation: Of the resize.

    Example:
      >>> center_crop(224).resize_size
      256
    """
    mean, std = colors
    return ImagePreprocess(
        color="rgb",
        resize="short",
        # As timm does, and whole numbers stay what they are.
        resize_size=math.floor(size / share + 1e-6),
        size=(size, size),
        interpolation=interpolation,
        scale=1 / 255,
        mean=mean,
        std=std,
    )


def whole_image(
    size: int, *, colors: Colors, interpolation: str = "bilinear"
) -> ImagePreprocess:
    """Returns the whole image scaled to a square; arguments as for `center_crop`."""
    mean, std = colors
    return ImagePreprocess(
        color="rgb",
        resize="exact",
        resize_size=None,
        size=(size, size),
        interpolation=interpolation,
        scale=1 / 255,
        mean=mean,
        std=std,
    )


def gray_crop(size: int) -> ImagePreprocess:
    """Returns the input of a network of one channel, where its weights do not say.

    ImageNet's mean and deviation of the three colors, averaged; 16 bits are kept.

    Args:
      size: Pixels a side.
    """
    mean, std = IMAGENET
    return ImagePreprocess(
        color="gray",
        resize="short",
        resize_size=math.floor(size / 0.875 + 1e-6),
        size=(size, size),
        interpolation="bilinear",
        scale=1 / 255,
        mean=(round(sum(mean) / 3, 4),),
        std=(round(sum(std) / 3, 4),),
        decoder="pillow-16",
    )


def keras_crop(mode: str, size: int) -> ImagePreprocess:
    """Returns the input of a `keras.applications` network.

    Args:
      mode: `"caffe"` (BGR less the mean), `"tf"` (-1 to 1), `"tf-128"` (-1 to nearly
        1) or `"torch"`.
      size: Pixels a side.
    """
    color, scale, (mean, std) = _KERAS_MODES[mode]
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
