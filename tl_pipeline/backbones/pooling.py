"""Pooling over windows and over the image. Images are [B, H, W, C]."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tl_pipeline.backbones.convolution import Padding, pad_amounts


def max_pool(
    x: jax.Array,
    *,
    size: int,
    stride: int,
    padding: Padding = 0,
    ceil: bool = False,
) -> jax.Array:
    """Returns the maximum of each window; what is padded never wins.

    Args:
      x: [B, H, W, C].
      size: Pixels of the square window a side.
      stride: Step along both axes.
      padding: As for a convolution.
      ceil: Whether a window that starts inside the image may reach beyond it, as
        PyTorch's `ceil_mode` has it; else it is left out.
    """
    pads = _window_pads(x, size, stride, padding, ceil=ceil)
    return lax.reduce_window(
        x,
        -jnp.inf,
        lax.max,
        window_dimensions=(1, size, size, 1),
        window_strides=(1, stride, stride, 1),
        padding=pads,
    )


def average_pool(
    x: jax.Array,
    *,
    size: int,
    stride: int,
    padding: Padding = 0,
    count_padding: bool = False,
) -> jax.Array:
    """Returns the mean of each window, in float32 and back.

    Args:
      x: [B, H, W, C].
      size: Pixels of the square window a side.
      stride: Step along both axes.
      padding: As for a convolution.
      count_padding: Whether padded pixels count as zeros (PyTorch's default), or not
        at all (TensorFlow).
    """
    pads = _window_pads(x, size, stride, padding, ceil=False)

    def add_up(values: jax.Array) -> jax.Array:
        return lax.reduce_window(
            values,
            0.0,
            lax.add,
            window_dimensions=(1, size, size, 1),
            window_strides=(1, stride, stride, 1),
            padding=pads,
        )

    counts = size * size
    if not count_padding:
        counts = add_up(jnp.ones((1, *x.shape[1:3], 1), jnp.float32))
    return (add_up(x.astype(jnp.float32)) / counts).astype(x.dtype)


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """Returns means over size × size regions that cover the image, as PyTorch cuts it.

    Region i of n pixels goes from floor(i * n / size) to ceil((i + 1) * n / size).

    Args:
      x: [B, H, W, C].
      size: Regions a side.

    Returns:
      [B, size, size, C].
    """
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (_region_weights(n, size) for n in x.shape[1:3])
    pooled = jnp.einsum("bhwc,ih,jw->bijc", x.astype(jnp.float32), rows, columns)
    return pooled.astype(x.dtype)


def global_average_pool(x: jax.Array) -> jax.Array:
    """Returns the mean over the pixels, in float32: [B, H, W, C] to [B, C]."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


def _region_weights(n: int, size: int) -> np.ndarray:
    weights = np.zeros((size, n), np.float32)
    for i in range(size):
        start, stop = i * n // size, -(-(i + 1) * n // size)
        weights[i, start:stop] = 1 / (stop - start)
    return weights


def _window_pads(
    x: jax.Array, size: int, stride: int, padding: Padding, *, ceil: bool
) -> list[tuple[int, int]]:
    pads = pad_amounts(x.shape[1:3], (size, size), stride, padding)
    if ceil:
        pads = [
            (before, after + _reach(n, size, stride, before, after))
            for n, (before, after) in zip(x.shape[1:3], pads, strict=True)
        ]
    return [(0, 0), *pads, (0, 0)]


def _reach(n: int, size: int, stride: int, before: int, after: int) -> int:
    """Returns how far the last window reaches beyond the padded image."""
    left = (n + before + after - size) % stride
    if not left:
        return 0
    start = (n + before + after - size) - left + stride
    return stride - left if start < n + before else 0
