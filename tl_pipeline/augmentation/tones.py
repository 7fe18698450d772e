"""Maps of tones, as Pillow's `ImageOps` has them: levels are those of 8 bits."""

import jax
import jax.numpy as jnp

LEVELS = 256


def posterize(image: jax.Array, bits: jax.Array) -> jax.Array:
    """Keeps the highest bits of each value.

    Args:
      image: [H, W, C] floating in [0, 1].
      bits: int32 scalar, 0 to 8.
    """
    kept = 255 - (2 ** (8 - bits) - 1)
    return _values(_levels(image) & kept, image)


def solarize(image: jax.Array, threshold: jax.Array) -> jax.Array:
    """Inverts all values from a threshold in [0, 1] up."""
    return jnp.where(image >= threshold, 1 - image, image)


def stretch(image: jax.Array) -> jax.Array:
    """Stretches each channel's values to reach from 0 to 1 (`autocontrast`)."""
    low = image.min(axis=(0, 1))
    spread = image.max(axis=(0, 1)) - low
    stretched = (image - low) / jnp.where(spread > 0, spread, 1)
    return jnp.where(spread > 0, stretched, image)


def equalize(image: jax.Array) -> jax.Array:
    """Makes each channel's levels about equally frequent.

    Args:
      image: [H, W, C] floating in [0, 1], rounded to 256 levels.
    """
    levels = _levels(image)
    equalized = jax.vmap(_equalize, in_axes=-1, out_axes=-1)(levels)
    return _values(equalized, image)


def sharpen(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with a smoothed image: 0 is that one, 1 the image, 2 is sharper.

    The outermost pixels stay as they are.
    """
    height, width, _ = image.shape
    if height < 3 or width < 3:
        return image
    rows = image[:-2] + image[1:-1] + image[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * image[1:-1, 1:-1]
    inner = jnp.pad(total / 13, ((1, 1), (1, 1), (0, 0)))
    row, column = jnp.arange(height)[:, None, None], jnp.arange(width)[:, None]
    is_inner = (row % (height - 1) > 0) & (column % (width - 1) > 0)
    smooth = jnp.where(is_inner, inner, image)
    return jnp.clip(smooth + (image - smooth) * factor, 0, 1)


def _levels(image: jax.Array) -> jax.Array:
    return jnp.round(image * (LEVELS - 1)).astype(jnp.int32)


def _values(levels: jax.Array, image: jax.Array) -> jax.Array:
    return (levels / (LEVELS - 1)).astype(image.dtype)


def _equalize(levels: jax.Array) -> jax.Array:
    counts = jnp.bincount(levels.ravel(), length=LEVELS)
    # The last level that occurs is left out, as in Pillow.
    last = counts[levels.max()]
    step = (counts.sum() - last) // (LEVELS - 1)
    below = jnp.cumsum(counts) - counts
    table = jnp.clip((step // 2 + below) // jnp.maximum(step, 1), 0, LEVELS - 1)
    return jnp.where(step > 0, table[levels], levels)
