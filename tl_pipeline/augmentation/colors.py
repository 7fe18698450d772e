"""Color jitter: brightness, contrast, saturation and hue, in this order."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's mode L


class Jitter(NamedTuple):
    """How colors are changed, each field a float32 scalar.

    Attributes:
      brightness: Factor on all values.
      contrast: Factor on the distance from the image's mean gray.
      saturation: Factor on the distance from each pixel's gray.
      hue: Turns of the color circle.
    """

    brightness: jax.Array
    contrast: jax.Array
    saturation: jax.Array
    hue: jax.Array


def sample_jitter(
    key: jax.Array, *, brightness: float, contrast: float, saturation: float, hue: float
) -> Jitter:
    """Draws factors uniform in 1 ± each, not below 0, and a hue in ± `hue`."""
    widths = jnp.asarray([brightness, contrast, saturation, hue])
    low = jnp.maximum(0.0, 1 - widths).at[3].set(-hue)
    high = (1 + widths).at[3].set(hue)
    return Jitter(*jax.random.uniform(key, (4,), minval=low, maxval=high))


def apply_jitter(image: jax.Array, jitter: Jitter) -> jax.Array:
    """Changes the colors.

    Args:
      image: [H, W, C] floating in [0, 1]; a gray image (C = 1) has neither saturation
        nor hue.
      jitter: By how much.

    Returns:
      The image's shape and dtype, in [0, 1].
    """
    image = adjust_brightness(image, jitter.brightness)
    image = adjust_contrast(image, jitter.contrast)
    image = adjust_saturation(image, jitter.saturation)
    return adjust_hue(image, jitter.hue)


def adjust_brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Multiplies all values: 0 is black, 1 the image."""
    return jnp.clip(image * factor, 0, 1)


def adjust_contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the mean gray: 0 is that gray, 1 the image."""
    mean = gray(image).mean()
    return jnp.clip(mean + (image - mean) * factor, 0, 1)


def adjust_saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Blends with the gray image: 0 is gray, 1 the image."""
    if image.shape[-1] != 3:
        return image
    base = gray(image)
    return jnp.clip(base + (image - base) * factor, 0, 1)


def adjust_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Turns the color circle: 0 is the image, 0.5 the opposite colors."""
    if image.shape[-1] != 3:
        return image
    red, green, blue = (image[..., c] for c in range(3))
    value = jnp.maximum(jnp.maximum(red, green), blue)
    spread = value - jnp.minimum(jnp.minimum(red, green), blue)
    divisor = jnp.where(spread > 0, spread, 1)
    sixths = 6 * turns + jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(
            value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor
        ),
    )

    # From hue, value and spread straight to a channel.
    def channel(place: float) -> jax.Array:
        at = sixths + place
        at -= 6 * jnp.floor(at / 6)  # `%` is many times slower on CPUs
        return value - spread * jnp.clip(jnp.minimum(at, 4 - at), 0, 1)

    return jnp.clip(jnp.stack([channel(5), channel(3), channel(1)], axis=-1), 0, 1)


def gray(image: jax.Array) -> jax.Array:
    """Returns an image's gray: [H, W, C] as [H, W, 1]."""
    if image.shape[-1] != 3:
        return image.mean(axis=-1, keepdims=True)
    red, green, blue = LUMA
    # Written out: a sum over so short an axis is slow.
    mixed = red * image[..., 0] + green * image[..., 1] + blue * image[..., 2]
    return mixed[..., None]
