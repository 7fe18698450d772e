"""Affine warps: an image sampled bilinearly, once, however many maps there were.

A matrix [3, 3] float32 says where the pixels of the result come from: times (x, y, 1)
of a pixel's place in the result it is (x, y, 1) in the image. The center of the first
pixel is (0.5, 0.5), as in Pillow's `Image.transform`. Maps one after the other are the
product of their matrices, the first one leftmost.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

# What comes from outside the image: neither black nor white (AutoAugment's choice).
FILL = 0.5


def make_matrix(*entries: ArrayLike) -> jax.Array:
    """Returns the matrix [3, 3] of its first two rows, six numbers or scalars."""
    rows = jnp.stack([jnp.asarray(entry, jnp.float32) for entry in entries])
    return jnp.concatenate([rows, jnp.asarray([0.0, 0.0, 1.0])]).reshape(3, 3)


def chain(*matrices: jax.Array) -> jax.Array:
    """Returns the matrix of maps one after the other."""
    product = matrices[0]
    for matrix in matrices[1:]:
        # Accelerators would round the places of pixels to a few bits.
        product = jnp.matmul(product, matrix, precision="highest")
    return product


def apply_warp(image: jax.Array, matrix: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Maps an image, bilinearly and without antialiasing.

    Each pixel of the result is read between the four pixels around its place, also
    where the image is reduced. One from outside the image is `FILL`; within half a
    pixel of the edge, the last pixel counts on.

    Args:
      image: [H, W, C] floating.
      matrix: [3, 3] float32.
      size: (H', W') of the result.

    Returns:
      [H', W', C] of the image's dtype.
    """
    height, width, _ = image.shape
    x = (jnp.arange(size[1]) + 0.5)[None, :]
    y = (jnp.arange(size[0]) + 0.5)[:, None]
    from_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    from_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    from_x = jnp.clip(from_x - 0.5, 0, width - 1)
    from_y = jnp.clip(from_y - 0.5, 0, height - 1)
    left, above = (jnp.floor(at).astype(jnp.int32) for at in (from_x, from_y))
    right = jnp.minimum(left + 1, width - 1)
    below = jnp.minimum(above + 1, height - 1)
    share_x = (from_x - left).astype(image.dtype)[..., None]
    share_y = (from_y - above).astype(image.dtype)[..., None]
    upper = image[above, left] * (1 - share_x) + image[above, right] * share_x
    lower = image[below, left] * (1 - share_x) + image[below, right] * share_x
    warped = upper * (1 - share_y) + lower * share_y
    return jnp.where(inside[..., None], warped, jnp.asarray(FILL, image.dtype))
