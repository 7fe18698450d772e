"""BiT's layers: convolutions with standardized kernels, normalized by groups."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from tl_pipeline.backbones.convolution import Padding, convolve
from tl_pipeline.backbones.layers import Conv

_EPSILON = 1e-5  # of GroupNorm, Google's and PyTorch's


class StandardizedConv(Conv):
    """A convolution whose kernel has mean 0 and variance 1 for each of its outputs.

    Reference:
      Qiao et al. 2019, https://arxiv.org/abs/1903.10520
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: int,
        stride: int = 1,
        padding: Padding = 0,
        epsilon: float,
    ):
        """Makes a kernel of zeros; `epsilon` is added to its variance."""
        super().__init__(
            in_channels, out_channels, size=size, stride=stride, padding=padding
        )
        # None where the kernel is standardized already.
        self.epsilon: float | None = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the [B, H, W, D] of `convolve`."""
        kernel = self.kernel[...]
        if self.epsilon is not None:
            mean = jnp.mean(kernel, axis=(0, 1, 2), keepdims=True)
            var = jnp.var(kernel, axis=(0, 1, 2), keepdims=True)
            kernel = (kernel - mean) / jnp.sqrt(var + self.epsilon)
        return convolve(x, kernel, stride=self.stride, padding=self.padding)


class GroupNorm(nnx.Module):
    """Normalizes each image by groups of channels, in float32 and back."""

    def __init__(self, channels: int, *, groups: int = 32):
        """Makes the identity's scale and bias."""
        self.groups = groups
        self.scale = nnx.Param(jnp.ones(channels))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, C]."""
        grouped = x.astype(jnp.float32).reshape(len(x), -1, self.groups, self._members)
        mean = jnp.mean(grouped, axis=(1, 3), keepdims=True)
        var = jnp.mean(jnp.square(grouped - mean), axis=(1, 3), keepdims=True)
        scale, bias = (
            values[...].astype(jnp.float32).reshape(1, 1, self.groups, self._members)
            for values in (self.scale, self.bias)
        )
        out = (grouped - mean) * (jax.lax.rsqrt(var + _EPSILON) * scale) + bias
        return out.reshape(x.shape).astype(x.dtype)

    @property
    def _members(self) -> int:
        return self.scale[...].shape[0] // self.groups


def standardize_kernels(network: nnx.Module) -> None:
    """Standardizes every kernel of a `StandardizedConv` for good, in place.

    In float64, then rounded once: what does not change is not computed with each batch.
    """
    for _, module in nnx.iter_modules(network):
        if isinstance(module, StandardizedConv) and module.epsilon is not None:
            kernel = np.asarray(module.kernel[...], np.float64)
            mean, var = (
                moment(kernel, axis=(0, 1, 2), keepdims=True)
                for moment in (np.mean, np.var)
            )
            kernel = (kernel - mean) / np.sqrt(var + module.epsilon)
            module.kernel.set_value(jnp.asarray(kernel, jnp.float32))
            module.epsilon = None
