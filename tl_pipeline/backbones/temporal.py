"""Layers over time: [B, T, C]. Each keeps its dtype."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax


class TimeConv(nnx.Module):
    """A convolution along time."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ):
        """Makes a kernel [K, C, D] and a bias [D] of zeros.

        Args:
          in_features: C.
          out_features: D.
          kernel: K.
          stride: Frames from one to the next.
          padding: Zeros before and after.
          bias: Whether there is one.
        """
        self.stride, self.padding = stride, padding
        self.kernel = nnx.Param(jnp.zeros((kernel, in_features, out_features)))
        self.bias = nnx.Param(jnp.zeros(out_features)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, C] to [B, (T + 2 padding - K) // stride + 1, D]."""
        out = lax.conv_general_dilated(
            x,
            self.kernel[...],
            window_strides=(self.stride,),
            padding=[(self.padding, self.padding)],
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return out if self.bias is None else out + self.bias[...].reshape(1, 1, -1)


class ChannelNorm(nnx.Module):
    """Normalizes each channel over the frames that there are.

    It is PyTorch's GroupNorm with as many groups as channels, of a recording that is as
    long as it is.
    """

    def __init__(self, features: int, *, epsilon: float):
        """Makes a scale of ones and a bias of zeros, [D] each."""
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]; `mask` [B, T] tells which frames count."""
        wide, mask = x.astype(jnp.float32), mask[..., None]
        n = jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
        mean = jnp.sum(jnp.where(mask, wide, 0), axis=1, keepdims=True) / n
        centered = jnp.where(mask, wide - mean, 0)
        variance = jnp.sum(centered * centered, axis=1, keepdims=True) / n
        out = centered * lax.rsqrt(variance + self.epsilon)
        out = out * self.scale[...].reshape(1, 1, -1)
        return (out + self.bias[...].reshape(1, 1, -1)).astype(x.dtype)


class PositionConv(nnx.Module):
    """A long convolution in groups of channels, whose kernel is normalized.

    The kernel of tap k is scaled to the length that `scale` says, over all channels:
    PyTorch's `weight_norm` with `dim=2`.
    """

    def __init__(self, features: int, *, kernel: int, groups: int):
        """Makes a kernel [K, D / groups, D], a scale of ones [K], and a bias [D]."""
        self.groups = groups
        self.scale = nnx.Param(jnp.ones(kernel))
        self.kernel = nnx.Param(jnp.zeros((kernel, features // groups, features)))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]."""
        taps = self.kernel[...].astype(jnp.float32)
        size = len(taps)
        length = jnp.sqrt(jnp.sum(taps * taps, axis=(1, 2), keepdims=True))
        kernel = taps * (self.scale[...].astype(jnp.float32).reshape(-1, 1, 1) / length)
        out = lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            window_strides=(1,),
            padding=[(size // 2, size - 1 - size // 2)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=self.groups,
        )
        return out + self.bias[...].reshape(1, 1, -1)
