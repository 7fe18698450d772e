"""Random resized crops: a part of the image, scaled to the size of the input."""

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.boxes import Box, sample_box
from tl_pipeline.augmentation.warp import make_matrix


def sample_crop(
    key: jax.Array,
    shape: tuple[int, int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Draws what to crop; where no draw fits, the largest center of a fitting aspect.

    Args:
      key: A JAX key.
      shape: (H, W) of the image.
      scale: Least and largest share of the image's area.
      ratio: Least and largest width over height.

    Reference:
      `RandomResizedCrop.get_params` of torchvision.
    """
    height, width = shape
    box, fits = sample_box(key, shape, scale=scale, ratio=ratio)
    rows, columns = height, width
    if width / height < ratio[0]:
        rows = round(width / ratio[0])
    elif width / height > ratio[1]:
        columns = round(height * ratio[1])
    center = ((height - rows) // 2, (width - columns) // 2, rows, columns)
    return Box(
        *(jnp.where(fits, drawn, x) for drawn, x in zip(box, center, strict=True))
    )


def crop_matrix(box: Box, size: tuple[int, int]) -> jax.Array:
    """Returns the map that scales a box to (H', W'), as `apply_warp` takes it."""
    return make_matrix(
        *(box.width / size[1], 0, box.left), *(0, box.height / size[0], box.top)
    )
