"""Mixup and CutMix: two examples become one, and so do their targets.

References:
  H. Zhang et al., "mixup", 2017; S. Yun et al., "CutMix", 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from tl_pipeline.augmentation.boxes import Box, pick

_QUANTILES = 4097


class Mixture(NamedTuple):
    """How an example is mixed with its partner.

    Attributes:
      share: float32 scalar, the example's own share of the target.
      box: What is pasted from the partner, of CutMix.
      is_pasted: Bool scalar: CutMix, not mixup.
    """

    share: jax.Array
    box: Box
    is_pasted: jax.Array


def sample_mixture(
    key: jax.Array, shape: tuple[int, int], *, mixup: float, cutmix: float
) -> Mixture:
    """Draws a share of Beta(α, α); where both are asked for, each as often.

    Args:
      key: A JAX key.
      shape: (H, W) of the image.
      mixup: α of mixup, 0: none.
      cutmix: α of CutMix, 0: none. One of the two is above 0.
    """
    drawn = jax.random.uniform(key, (4,))
    pasting = 0.5 if mixup and cutmix else float(cutmix > 0)
    is_pasted = drawn[0] < pasting
    share = jnp.where(
        is_pasted, _beta(drawn[1], cutmix or 1.0), _beta(drawn[1], mixup or 1.0)
    )
    height, width = shape
    half = 0.5 * jnp.sqrt(1 - share)
    y, x = pick(drawn[2], height), pick(drawn[3], width)
    rows = (half * height).astype(jnp.int32)
    columns = (half * width).astype(jnp.int32)
    top, bottom = jnp.maximum(y - rows, 0), jnp.minimum(y + rows, height)
    left, right = jnp.maximum(x - columns, 0), jnp.minimum(x + columns, width)
    box = Box(top, left, bottom - top, right - left)
    # What the image's edge cut off the box does not count.
    pasted = 1 - box.height * box.width / (height * width)
    return Mixture(jnp.where(is_pasted, pasted, share), box, is_pasted)


def apply_mixture(image: jax.Array, partner: jax.Array, mixture: Mixture) -> jax.Array:
    """Mixes two images [H, W, C] of one shape and dtype."""
    height, width, _ = image.shape
    share = mixture.share.astype(image.dtype)
    mask = mixture.box.mask((height, width))[..., None]
    pasted = jnp.where(mask, partner, image)
    return jnp.where(mixture.is_pasted, pasted, partner + (image - partner) * share)


def mix_targets(target: jax.Array, partner: jax.Array, mixture: Mixture) -> jax.Array:
    """Mixes two soft targets [K] by the share; a missing one (NaN) stays missing."""
    share = mixture.share.astype(target.dtype)
    return share * target + (1 - share) * partner


def _beta(drawn: jax.Array, alpha: float) -> jax.Array:
    """Returns the quantile of Beta(α, α), between those of a table.

    `jax.random.beta` rejects in a loop, in which a batch waits for its unluckiest
    example, and which takes seconds to compile.
    """
    grid = np.linspace(0, 1, _QUANTILES)
    table = scipy.special.betaincinv(alpha, alpha, grid)
    return jnp.interp(drawn, grid.astype(np.float32), table.astype(np.float32))
