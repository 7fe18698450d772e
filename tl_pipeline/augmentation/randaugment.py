"""RandAugment: N operations of one magnitude, drawn for each image.

Reference:
  E. Cubuk et al., "RandAugment", 2019; operations and ranges are torchvision's.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.affine import Affine
from tl_pipeline.augmentation.boxes import pick
from tl_pipeline.augmentation.colors import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
)
from tl_pipeline.augmentation.recipe import STRONGEST
from tl_pipeline.augmentation.tones import (
    equalize,
    posterize,
    sharpen,
    solarize,
    stretch,
)
from tl_pipeline.augmentation.warp import apply_warp

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
_N_AFFINE = OPERATIONS.index("brightness")  # the first ones are one affine map


class Operations(NamedTuple):
    """The operations on an image, in their order.

    Attributes:
      kind: [N] int32 into `OPERATIONS`.
      sign: [N] float32, -1 or 1: the direction, of those that have one.
    """

    kind: jax.Array
    sign: jax.Array


def sample_operations(key: jax.Array, n: int) -> Operations:
    """Draws n operations, each as likely as any other, and their directions."""
    drawn = jax.random.uniform(key, (2, n))
    return Operations(
        pick(drawn[0], len(OPERATIONS)), jnp.where(drawn[1] < 0.5, -1.0, 1.0)
    )


def apply_operations(
    image: jax.Array, operations: Operations, *, magnitude: float
) -> jax.Array:
    """Applies them, one after the other.

    Args:
      image: [H, W, C] floating in [0, 1].
      operations: Which.
      magnitude: Of all of them, 0 to `STRONGEST`.

    Returns:
      The image's shape and dtype, in [0, 1].
    """

    def step(image: jax.Array, drawn: tuple[jax.Array, jax.Array]):
        return apply_operation(image, *drawn, magnitude=magnitude), None

    return jax.lax.scan(step, image, operations)[0]


def apply_operation(
    image: jax.Array, kind: jax.Array, sign: jax.Array, *, magnitude: float
) -> jax.Array:
    """Applies one operation; arguments as for `apply_operations`, scalars."""
    share = magnitude / STRONGEST
    factor = 1 + sign * (0.9 * share)
    bits = 8 - round(4 * share)
    branches = (
        lambda image: _warp(image, kind, sign * share),
        lambda image: adjust_brightness(image, factor),
        lambda image: adjust_saturation(image, factor),
        lambda image: adjust_contrast(image, factor),
        lambda image: sharpen(image, factor),
        lambda image: posterize(image, jnp.asarray(bits)),
        lambda image: solarize(image, jnp.asarray(1 - share, image.dtype)),
        stretch,
        equalize,
    )
    # Over a batch every branch is computed for every image: the six affine ones, which
    # cost most, are therefore one.
    return jax.lax.switch(jnp.maximum(kind - _N_AFFINE + 1, 0), branches, image)


def _warp(image: jax.Array, kind: jax.Array, strength: jax.Array) -> jax.Array:
    height, width, _ = image.shape

    def only(name: str, most: float) -> jax.Array:
        return jnp.where(kind == OPERATIONS.index(name), strength * most, 0.0)

    affine = Affine(
        angle=only("rotate", 30.0),
        right=only("translate_x", 150 / 331 * width),
        down=only("translate_y", 150 / 331 * height),
        shear_x=only("shear_x", 0.3),
        shear_y=only("shear_y", 0.3),
    )
    return apply_warp(image, affine.matrix((height, width)), (height, width))
