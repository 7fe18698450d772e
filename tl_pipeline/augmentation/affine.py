"""Rotation by small angles, translation and shear."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tl_pipeline.augmentation.warp import chain, make_matrix


class Affine(NamedTuple):
    """An affine map of an image, each field a float32 scalar.

    Attributes:
      angle: Degrees counterclockwise about the center.
      right: Pixels to the right, after the rotation.
      down: Pixels downwards, likewise.
      shear_x: Pixels to the left by each pixel downwards from the top, before it.
      shear_y: Pixels upwards by each pixel to the right from the left, likewise.
    """

    angle: ArrayLike = 0.0
    right: ArrayLike = 0.0
    down: ArrayLike = 0.0
    shear_x: ArrayLike = 0.0
    shear_y: ArrayLike = 0.0

    def matrix(self, size: tuple[int, int]) -> jax.Array:
        """Returns the map of an image (H, W), as `apply_warp` takes it: [3, 3]."""
        x, y = size[1] / 2, size[0] / 2
        radians = jnp.deg2rad(self.angle)
        cos, sin = jnp.cos(radians), jnp.sin(radians)
        return chain(
            make_matrix(1, self.shear_x, 0, self.shear_y, 1, 0),
            make_matrix(cos, -sin, x, sin, cos, y),
            make_matrix(1, 0, -(x + self.right), 0, 1, -(y + self.down)),
        )


def sample_affine(
    key: jax.Array, size: tuple[int, int], *, degrees: float, share: float
) -> Affine:
    """Draws a rotation and a translation, each uniform between minus and plus.

    Args:
      key: A JAX key.
      size: (H, W) of the image.
      degrees: Largest angle.
      share: Largest translation, of the image's width and height.
    """
    angle, right, down = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
    return Affine(angle * degrees, right * (share * size[1]), down * (share * size[0]))
