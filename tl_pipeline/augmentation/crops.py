"""Random resized crops: a part of the image, scaled to the size of the input."""

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.boxes import Box, sample_box


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


def apply_crop(image: jax.Array, box: Box, size: tuple[int, int]) -> jax.Array:
    """Crops and scales, bilinearly and without antialiasing.

    Each pixel of the result is read between the four pixels around its place, also
    where the crop is reduced: at the usual crops of at most the input's own size
    nothing is, or little. At the image's edge, its last pixel counts on.

    Args:
      image: [H, W, C] floating.
      box: What to crop.
      size: (H', W') of the result.

    Returns:
      [H', W', C] of the image's dtype.
    """
    rows = _places(box.top, box.height, size[0], image.shape[0])
    columns = _places(box.left, box.width, size[1], image.shape[1])
    return _interpolate(_interpolate(image, rows, axis=0), columns, axis=1)


def _places(start: jax.Array, length: jax.Array, n: int, last: int) -> jax.Array:
    """Returns where along the axis the n centers lie, in pixels: [n] float32."""
    places = start + (jnp.arange(n) + 0.5) * (length / n) - 0.5
    return jnp.clip(places, 0, last - 1)


def _interpolate(image: jax.Array, places: jax.Array, *, axis: int) -> jax.Array:
    before = jnp.floor(places).astype(jnp.int32)
    after = jnp.minimum(before + 1, image.shape[axis] - 1)
    share = (places - before).astype(image.dtype)
    if axis == 0:
        left, right, share = image[before], image[after], share[:, None, None]
    else:
        left, right, share = image[:, before], image[:, after], share[None, :, None]
    return left * (1 - share) + right * share
