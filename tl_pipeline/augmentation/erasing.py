"""Random erasing: a box of one random color over part of the image.

Reference:
  Z. Zhong et al., "Random Erasing Data Augmentation", 2017; sizes are torchvision's.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.boxes import Box, sample_box

RATIO = (0.3, 3.3)  # width over height


class Erasure(NamedTuple):
    """What is erased.

    Attributes:
      box: Where.
      color: [C] float32 in [0, 1].
      is_applied: Bool scalar, whether anything is.
    """

    box: Box
    color: jax.Array
    is_applied: jax.Array


def sample_erasure(
    key: jax.Array,
    shape: tuple[int, int, int],
    *,
    probability: float,
    scale: tuple[float, float],
) -> Erasure:
    """Draws whether, where and with what to erase.

    Args:
      key: A JAX key.
      shape: (H, W, C) of the image.
      probability: Of erasing at all.
      scale: Least and largest share of the image's area.
    """
    box_key, other_key = jax.random.split(key)
    box, fits = sample_box(box_key, shape[:2], scale=scale, ratio=RATIO)
    drawn = jax.random.uniform(other_key, (1 + shape[2],))
    return Erasure(box, drawn[1:], fits & (drawn[0] < probability))


def apply_erasure(image: jax.Array, erasure: Erasure) -> jax.Array:
    """Erases: the image's shape and dtype."""
    height, width, _ = image.shape
    mask = erasure.box.mask((height, width))[..., None] & erasure.is_applied
    return jnp.where(mask, erasure.color.astype(image.dtype), image)
