"""Which frames of an output hold something of a recording, and what the others are.

Windows come from the host with NaN where there is nothing of the recording. What the
checkpoints' own feature extractors put there is put there on the device; and frames
made of that alone are left out of every pooling.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from tl_pipeline.preprocess import AudioPreprocess

# Of wav2vec 2.0's convolutions over samples: 400 of them make a frame, 320 apart.
KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)
PATCH, PATCH_STRIDE = 16, 10  # frames, and bins, of AST's patches
CLASS_TOKENS = 2  # of AST, which is a distilled DeiT


def fill_frames(windows: jax.Array, preprocess: AudioPreprocess) -> jax.Array:
    """Returns windows as a network takes them.

    Whisper's extractor lengthens a recording by silence, whose frames are the lowest
    value that there can be; AST's by frames of zeros, before it normalizes them.
    Samples stay NaN: the network leaves them out.

    Args:
      windows: [B, T, D] or [B, T] float32.
      preprocess: What made them.
    """
    if preprocess.front_end == "waveform":
        return windows
    missing = jnp.isnan(windows)
    if preprocess.front_end == "kaldi":
        return jnp.where(missing, (0 - preprocess.mean) / (2 * preprocess.std), windows)
    loudest = jnp.max(jnp.where(missing, -jnp.inf, windows), axis=(1, 2), keepdims=True)
    # log10 of 1e-10, but 8 below the loudest at most; then (x + 4) / 4 of both.
    return jnp.where(missing, jnp.maximum(-1.5, loudest - 2.0), windows)


def find_frames(
    windows: jax.Array, tokens: int, preprocess: AudioPreprocess
) -> jax.Array:
    """Tells which tokens of an output hold something of the recording.

    Args:
      windows: [B, ...], as the host prepared them.
      tokens: T of the output.
      preprocess: What made them, which says whose they are.

    Returns:
      [B, T] bool.
    """
    there = ~jnp.isnan(windows if windows.ndim == 2 else windows[..., 0])
    n = jnp.sum(there, axis=1)[:, None]
    place = jnp.arange(tokens)[None]
    if preprocess.front_end == "waveform":
        return place < count_frames(n)
    if preprocess.front_end == "whisper":
        return place < (n + 1) // 2  # its second convolution goes by twos
    columns = len(range(0, preprocess.length - PATCH + 1, PATCH_STRIDE))
    column = (place - CLASS_TOKENS) % columns
    return (place < CLASS_TOKENS) | (PATCH_STRIDE * column < n)


def flatten_windows(windows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the windows of recordings as a batch, and how much each holds.

    Args:
      windows: [B, W, ...] float, NaN where there is nothing of the recording; of those
        that have fewer windows than W the last ones are NaN alone.

    Returns:
      [B * W, ...], zeros in place of a window that there is not, so that a network has
      something to compute of it; and [B, W] int32, frames or samples of each, 0 of such
      a one.
    """
    first = windows if windows.ndim == 3 else windows[..., 0]
    sizes = jnp.sum(~jnp.isnan(first), axis=2)
    absent = (sizes == 0).reshape(*sizes.shape, *(1 for _ in windows.shape[2:]))
    return jnp.where(absent, 0, windows).reshape(-1, *windows.shape[2:]), sizes


def join_windows(rows: jax.Array, sizes: jax.Array, pooling: str) -> jax.Array:
    """Joins the rows of windows into one of each recording, as extraction does.

    What is pooled by `max` is the largest, what is pooled by `last` the last window's,
    and everything else the mean, in which a window counts by its size.

    Args:
      rows: [B * W, ...] float32.
      sizes: [B, W], from `flatten_windows`.
      pooling: One of `TOKEN_POOLINGS`.

    Returns:
      [B, ...] float32.
    """
    rows = rows.reshape(*sizes.shape, *rows.shape[1:])
    wide = sizes.reshape(*sizes.shape, *(1 for _ in rows.shape[2:]))
    if pooling == "max":
        return jnp.max(jnp.where(wide > 0, rows, -jnp.inf), axis=1)
    if pooling == "last":
        last = jnp.sum(wide > 0, axis=1, keepdims=True) - 1
        return jnp.take_along_axis(rows, last, axis=1)[:, 0]
    return jnp.sum(rows * (wide / jnp.sum(wide, axis=1, keepdims=True)), axis=1)


def count_frames(
    samples, *, kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES
):
    """Returns how many frames wav2vec 2.0 makes of so many samples.

    Example:
      >>> count_frames(400), count_frames(719), count_frames(16_000)
      (1, 1, 49)
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples
