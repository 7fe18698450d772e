"""Boxes of whole pixels within an image: what is cropped, erased or pasted."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

ATTEMPTS = 10  # as torchvision tries


class Box(NamedTuple):
    """A box of pixels, each field an int32 scalar.

    Attributes:
      top: First row.
      left: First column.
      height: Rows.
      width: Columns.
    """

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array

    def mask(self, shape: tuple[int, int]) -> jax.Array:
        """Returns which pixels of an image (H, W) the box holds: [H, W] bool."""
        row = jnp.arange(shape[0])[:, None] - self.top
        column = jnp.arange(shape[1])[None, :] - self.left
        rows = (row >= 0) & (row < self.height)
        return rows & (column >= 0) & (column < self.width)


def sample_box(
    key: jax.Array,
    shape: tuple[int, int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[Box, jax.Array]:
    """Draws a box of random area and aspect, anywhere within the image.

    Ten are drawn and the first that fits is taken: a loop on the device would have all
    examples of a batch wait for the unluckiest.

    Args:
      key: A JAX key.
      shape: (H, W) of the image.
      scale: Share of the image's area, uniform between the two.
      ratio: Width over height; its logarithm is uniform between the two.

    Returns:
      The box, and whether any fitted; where none did, the box is of no use.

    Reference:
      `RandomResizedCrop.get_params` of torchvision.
    """
    height, width = shape
    drawn = jax.random.uniform(key, (2 * ATTEMPTS + 2,))
    area = _between(drawn[:ATTEMPTS], *scale) * (height * width)
    low, high = (math.log(end) for end in ratio)
    aspect = jnp.exp(_between(drawn[ATTEMPTS : 2 * ATTEMPTS], low, high))
    rows = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    columns = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    fits = (rows > 0) & (rows <= height) & (columns > 0) & (columns <= width)
    first = jnp.argmax(fits)
    rows, columns = rows[first], columns[first]
    top = pick(drawn[-2], height - rows + 1)
    left = pick(drawn[-1], width - columns + 1)
    return Box(top, left, rows, columns), fits.any()


def pick(drawn: jax.Array, n: jax.Array | int) -> jax.Array:
    """Returns the integer below n that a number in [0, 1) stands for.

    One draw of many uniform numbers compiles and runs in a fraction of what several
    draws of integers take.
    """
    return jnp.minimum((drawn * n).astype(jnp.int32), n - 1)


def _between(drawn: jax.Array, low: float, high: float) -> jax.Array:
    return low + (high - low) * drawn
