"""Between inputs and networks: the one place where a kind of input finds its functions.

What the host prepared becomes what a network takes, and what a network gives is pooled,
in one compiled function with the network itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.backbones.recordings import count_frames, fill_frames, find_frames
from tl_pipeline.backbones.token_pooling import pool_tokens
from tl_pipeline.preprocess import (
    AudioPreprocess,
    ImagePreprocess,
    Preprocess,
    TextPreprocess,
)


class Intake(NamedTuple):
    """How a kind of input enters a network, and how what comes out is pooled.

    Attributes:
      dtype: Of what the network takes, by name.
      take: Makes that of inputs, their preprocessing and the compute dtype.
      pool: Pools an output [B, ...] float32, by a pooling's name, the inputs and their
        preprocessing.
    """

    dtype: str
    take: Callable[[jax.Array, Any, str], jax.Array]
    pool: Callable[[jax.Array, str, jax.Array, Any], jax.Array]


def find_intake(preprocess: Preprocess) -> Intake:
    """Returns the functions of a preprocessing's kind."""
    return _INTAKES[type(preprocess)]


def normalize(images: jax.Array, preprocess: ImagePreprocess) -> jax.Array:
    """Returns (images * scale - mean) / std, uint8 [B, H, W, C] to float32.

    Of uint16, the values are divided by 257 before, so that 65,535 is 255.
    """
    mean = jnp.asarray(preprocess.mean, jnp.float32).reshape(1, 1, 1, -1)
    std = jnp.asarray(preprocess.std, jnp.float32).reshape(1, 1, 1, -1)
    scale = preprocess.scale / (257 if images.dtype == jnp.uint16 else 1)
    return (images.astype(jnp.float32) * scale - mean) / std


def pool_output(x: jax.Array, pooling: str) -> jax.Array:
    """Pools [B, ..., D] over all axes but the first and the last."""
    if pooling == "none":
        return x
    if pooling == "flatten":
        return x.reshape(len(x), -1)
    return _POOL[pooling](x, axis=tuple(range(1, x.ndim - 1)))


def pool_text(
    x: jax.Array, pooling: str, ids: jax.Array, preprocess: TextPreprocess
) -> jax.Array:
    """Pools tokens [B, T, D]; vectors [B, D] stay.

    Unpooled tokens are [B, max_length, D], with zeros behind a text's end: whatever
    length it was computed at, its row is the same.

    Args:
      x: An output.
      pooling: One of `TOKEN_POOLINGS`.
      ids: [B, T] token ids, -1 behind the end.
      preprocess: For the longest length.
    """
    if x.ndim == 2:
        return x
    mask = ids >= 0
    if pooling != "none":
        return pool_tokens(x, mask, pooling)
    missing = preprocess.max_length - x.shape[1]
    return jnp.pad(jnp.where(mask[..., None], x, 0), ((0, 0), (0, missing), (0, 0)))


def pool_recording(
    x: jax.Array, pooling: str, windows: jax.Array, preprocess: AudioPreprocess
) -> jax.Array:
    """Pools the frames [B, T, D] of windows; vectors [B, D] stay.

    Unpooled frames are all those of a window, since a network that takes bins looks at
    the silence behind a recording's end. Of waveforms, which come in several lengths,
    those behind the end are zero.

    Args:
      x: An output.
      pooling: One of `TOKEN_POOLINGS`.
      windows: [B, ...], NaN behind the end.
      preprocess: For how many frames become one.
    """
    if x.ndim == 2:
        return x
    if pooling == "none" and preprocess.bins:
        return x
    mask = find_frames(windows, x.shape[1], preprocess)
    if pooling != "none":
        return pool_tokens(x, mask, pooling)
    missing = count_frames(preprocess.length) - x.shape[1]
    return jnp.pad(jnp.where(mask[..., None], x, 0), ((0, 0), (0, missing), (0, 0)))


_POOL: Mapping[str, Callable[..., jax.Array]] = {"avg": jnp.mean, "max": jnp.max}
_INTAKES: Mapping[type, Intake] = {
    ImagePreprocess: Intake(
        "float32",
        lambda images, preprocess, dtype: normalize(images, preprocess).astype(dtype),
        lambda x, pooling, images, preprocess: pool_output(x, pooling),
    ),
    TextPreprocess: Intake("int32", lambda ids, preprocess, dtype: ids, pool_text),
    AudioPreprocess: Intake(
        "float32",
        lambda windows, preprocess, dtype: fill_frames(windows, preprocess).astype(
            dtype
        ),
        pool_recording,
    ),
}
