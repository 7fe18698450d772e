"""Flips and quarter turns: every pixel kept, elsewhere."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.boxes import pick
from tl_pipeline.augmentation.warp import chain, make_matrix


class Orientation(NamedTuple):
    """How an image is turned over.

    Attributes:
      horizontal: Bool scalar, whether left and right are swapped.
      vertical: Bool scalar, whether top and bottom are.
      turns: int32 scalar, quarter turns counterclockwise, after the flips. Only a
        square image keeps its shape.
    """

    horizontal: jax.Array
    vertical: jax.Array
    turns: jax.Array

    def matrix(self, size: tuple[int, int]) -> jax.Array:
        """Returns the map of an image (H, W), as `apply_warp` takes it: [3, 3]."""
        x, y = size[1] / 2, size[0] / 2
        # Whole numbers, unlike cosines: no pixel is interpolated.
        cos = jnp.asarray([1, 0, -1, 0])[self.turns]
        sin = jnp.asarray([0, 1, 0, -1])[self.turns]
        return chain(
            make_matrix(
                *(jnp.where(self.horizontal, -1, 1), 0, x),
                *(0, jnp.where(self.vertical, -1, 1), y),
            ),
            make_matrix(cos, -sin, 0, sin, cos, 0),
            make_matrix(1, 0, -x, 0, 1, -y),
        )


def sample_orientation(
    key: jax.Array, *, horizontal: float, vertical: float, turns: bool
) -> Orientation:
    """Draws flips of the given probabilities, and one of the four turns if asked to."""
    drawn = jax.random.uniform(key, (3,))
    return Orientation(
        drawn[0] < horizontal, drawn[1] < vertical, pick(drawn[2], 4 if turns else 1)
    )
