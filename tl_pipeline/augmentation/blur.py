"""Gaussian blur."""

import math

import jax
import jax.numpy as jnp

REACH = 3  # deviations on each side, of the widest blur


def sample_blur(
    key: jax.Array, *, probability: float, sigma: tuple[float, float]
) -> jax.Array:
    """Draws a deviation in pixels, uniform between the two, or 0: no blur."""
    drawn = jax.random.uniform(key, (2,))
    least, most = sigma
    return jnp.where(drawn[0] < probability, least + (most - least) * drawn[1], 0.0)


def apply_blur(image: jax.Array, sigma: jax.Array, *, most: float) -> jax.Array:
    """Blurs; at the image's edge, its last pixel counts on.

    Args:
      image: [H, W, C] floating.
      sigma: The deviation in pixels; 0 leaves the image as it is.
      most: The largest deviation: it decides how far the kernel reaches, which is the
        same for all, as shapes on the device are.

    Returns:
      The image's shape and dtype.
    """
    radius = math.ceil(REACH * most)
    offsets = jnp.arange(-radius, radius + 1)

    def blurred(image: jax.Array) -> jax.Array:
        kernel = jnp.exp(-0.5 * (offsets / jnp.maximum(sigma, 1e-6)) ** 2)
        kernel = (kernel / kernel.sum()).astype(image.dtype)
        return _convolve(_convolve(image, kernel, axis=0), kernel, axis=1)

    return jax.lax.cond(sigma > 0, blurred, lambda image: image, image)


def _convolve(image: jax.Array, kernel: jax.Array, *, axis: int) -> jax.Array:
    radius = len(kernel) // 2
    widths = [(0, 0)] * image.ndim
    widths[axis] = (radius, radius)
    padded = jnp.pad(image, widths, mode="edge")
    n = image.shape[axis]
    # A sum of shifted images: grouped convolutions are slow where C is 3.
    shifted = (
        jax.lax.slice_in_dim(padded, k, k + n, axis=axis) for k in range(len(kernel))
    )
    total = jnp.zeros_like(image)
    for weight, part in zip(kernel, shifted, strict=True):
        total += weight * part
    return total
