"""Affine maps: rotation, translation and shear, sampled bilinearly in one pass."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# What comes from outside the image: neither black nor white (AutoAugment's choice).
FILL = 0.5


class Affine(NamedTuple):
    """An affine map of an image, each field a float32 scalar.

    Attributes:
      angle: Degrees counterclockwise about the center.
      right: Pixels to the right.
      down: Pixels downwards.
      shear_x: Pixels to the left by each pixel downwards from the top left corner.
      shear_y: Pixels upwards by each pixel to the right from it.
    """

    angle: jax.Array | float = 0.0
    right: jax.Array | float = 0.0
    down: jax.Array | float = 0.0
    shear_x: jax.Array | float = 0.0
    shear_y: jax.Array | float = 0.0


def sample_affine(
    key: jax.Array, shape: tuple[int, int], *, degrees: float, share: float
) -> Affine:
    """Draws a rotation and a translation, each uniform between minus and plus.

    Args:
      key: A JAX key.
      shape: (H, W) of the image.
      degrees: Largest angle.
      share: Largest translation, of the image's width and height.
    """
    angle, right, down = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
    return Affine(
        angle * degrees, right * (share * shape[1]), down * (share * shape[0])
    )


def make_matrix(affine: Affine, shape: tuple[int, int]) -> jax.Array:
    """Returns where each pixel of the result comes from.

    Args:
      affine: The map: shear, then rotation, then translation.
      shape: (H, W) of the image.

    Returns:
      [2, 3] float32: times (x, y, 1) of a pixel's center in the result it is (x, y) in
      the image. The center of the first pixel is (0.5, 0.5). Pillow's `AFFINE` data.
    """
    x, y = shape[1] / 2, shape[0] / 2
    radians = jnp.deg2rad(affine.angle)
    cos, sin = jnp.cos(radians), jnp.sin(radians)
    # Back from the result: the center and the translation off, turned clockwise.
    dx, dy = -(x + affine.right), -(y + affine.down)
    unturned_x = jnp.stack([cos, -sin, cos * dx - sin * dy + x])
    unturned_y = jnp.stack([sin, cos, sin * dx + cos * dy + y])
    return jnp.stack(
        [
            unturned_x + affine.shear_x * unturned_y,
            unturned_y + affine.shear_y * unturned_x,
        ]
    )


def apply_matrix(image: jax.Array, matrix: jax.Array) -> jax.Array:
    """Maps an image, bilinearly and without antialiasing.

    A pixel that comes from outside the image is `FILL`; within half a pixel of its
    edge, the last pixel counts on.

    Args:
      image: [H, W, C] floating.
      matrix: What `make_matrix` returned.

    Returns:
      The image's shape and dtype.
    """
    height, width, _ = image.shape
    x = (jnp.arange(width) + 0.5)[None, :]
    y = (jnp.arange(height) + 0.5)[:, None]
    from_x, from_y = (row[0] * x + row[1] * y + row[2] for row in matrix)
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
    mapped = upper * (1 - share_y) + lower * share_y
    return jnp.where(inside[..., None], mapped, jnp.asarray(FILL, image.dtype))


def apply_affine(image: jax.Array, affine: Affine) -> jax.Array:
    """Shears, rotates and translates: `make_matrix`, then `apply_matrix`."""
    height, width, _ = image.shape
    return apply_matrix(image, make_matrix(affine, (height, width)))
