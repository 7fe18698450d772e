"""Learned positions on a grid of another size, by bicubic interpolation.

Published code differs in how, and so do its features: with antialiasing (timm, DINOv2
with registers), a kernel of a = -0.5 that widens where the grid shrinks; without it
(DINOv2), one of a = -0.75 that does not. DINOv2 also adds 0.1 to the new size when it
computes the scale, which shifts the samples.
"""

import jax
import jax.numpy as jnp
import numpy as np


def interpolate_positions(
    positions: jax.Array, size: tuple[int, int], *, antialias: bool, offset: float
) -> jax.Array:
    """Interpolates a square grid of positions.

    Args:
      positions: [S * S, D], row by row.
      size: (H, W) of the grid wanted; for S by S the positions stay as they are.
      antialias: Whether the kernel widens where the grid shrinks.
      offset: What is added to the new size when the scale is computed.

    Returns:
      [H * W, D].
    """
    side = round(len(positions) ** 0.5)
    if size == (side, side):
        return positions
    rows, columns = (
        jnp.asarray(interpolation_matrix(side, n, antialias=antialias, offset=offset))
        for n in size
    )
    grid = positions.astype(jnp.float32).reshape(side, side, -1)
    grid = jnp.einsum("hi,ijd->hjd", rows, grid)
    grid = jnp.einsum("wj,hjd->hwd", columns, grid)
    return grid.reshape(size[0] * size[1], -1).astype(positions.dtype)


def interpolation_matrix(
    old: int, new: int, *, antialias: bool, offset: float = 0.0
) -> np.ndarray:
    """Returns the weights [new, old] of bicubic interpolation along one axis.

    As PyTorch's `interpolate(mode="bicubic", align_corners=False)` has them.

    Example:
      >>> interpolation_matrix(2, 1, antialias=False).tolist()
      [[0.5, 0.5]]
    """
    step = old / (new + offset)
    centers = (np.arange(new) + 0.5) * step
    matrix = np.zeros((new, old))
    if antialias:
        widen = max(step, 1.0)
        distance = (np.arange(old)[None] + 0.5 - centers[:, None]) / widen
        matrix = _cubic(distance, -0.5)
        return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
    for i, center in enumerate(centers - 0.5):
        first = int(np.floor(center)) - 1
        for j in range(first, first + 4):
            # Beyond the border is the border.
            matrix[i, min(max(j, 0), old - 1)] += _cubic(np.asarray(j - center), -0.75)
    return matrix.astype(np.float32)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
