"""Flips and quarter turns: every pixel kept, elsewhere."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.boxes import pick


class Orientation(NamedTuple):
    """How an image is turned over.

    Attributes:
      horizontal: Bool scalar, whether left and right are swapped.
      vertical: Bool scalar, whether top and bottom are.
      turns: int32 scalar, quarter turns counterclockwise, after the flips.
    """

    horizontal: jax.Array
    vertical: jax.Array
    turns: jax.Array


def sample_orientation(
    key: jax.Array, *, horizontal: float, vertical: float, turns: bool
) -> Orientation:
    """Draws flips of the given probabilities, and one of the four turns if asked to."""
    drawn = jax.random.uniform(key, (3,))
    return Orientation(
        drawn[0] < horizontal, drawn[1] < vertical, pick(drawn[2], 4 if turns else 1)
    )


def apply_orientation(
    image: jax.Array, orientation: Orientation, *, turns: bool
) -> jax.Array:
    """Flips and turns.

    Args:
      image: [H, W, C] floating; with turns, H = W.
      orientation: What to do.
      turns: Whether quarter turns can occur: without, they cost nothing.

    Returns:
      The image's shape and dtype.
    """
    image = jnp.where(orientation.horizontal, image[:, ::-1], image)
    image = jnp.where(orientation.vertical, image[::-1], image)
    if not turns:
        return image
    turned = jnp.stack([jnp.rot90(image, k) for k in range(4)])
    return turned[orientation.turns]
