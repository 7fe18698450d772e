"""How published color checkpoints prepare images: mean, deviation, crop, all square."""

import math

from tl_pipeline.spec import ImagePreprocess

# (mean, standard deviation) of pixels from 0 to 1
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))

Colors = tuple[tuple[float, ...], tuple[float, ...]]


def center_crop(
    size: int, *, share: float, colors: Colors, interpolation: str = "bicubic"
) -> ImagePreprocess:
    """Returns a crop from the center of the image's shorter side.

    Args:
      size: Pixels a side.
      share: Of the shorter side that the crop takes: timm's `crop_pct`.
      colors: Mean and standard deviation.
      interpolation: Of the resize.

    Example:
      >>> center_crop(224, share=0.875, colors=IMAGENET).resize_size
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
