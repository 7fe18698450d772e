"""Layers of networks on images, which are [B, H, W, C], and the BatchNorm of them."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from tl_pipeline.backbones.convolution import Padding, convolve


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """Returns max(x, 0). Gradients take of it what it gave, which is kept anyway."""
    return jnp.maximum(x, 0)


@jax.custom_vjp
def relu6(x: jax.Array) -> jax.Array:
    """Returns x, at least 0 and at most 6; gradients as those of `relu`."""
    return jnp.minimum(jnp.maximum(x, 0), 6)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu(x)
    return y, y


def _relu_backward(y: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(y > 0, cotangent, 0),)


def _relu6_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu6(x)
    return y, y


def _relu6_backward(y: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    return (jnp.where((y > 0) & (y < 6), cotangent, 0),)


relu.defvjp(_relu_forward, _relu_backward)
relu6.defvjp(_relu6_forward, _relu6_backward)


class Conv(nnx.Module):
    """A convolution; `groups` is 1 or the number of channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: int | tuple[int, int],
        stride: int = 1,
        groups: int = 1,
        padding: Padding = "SAME",
        bias: bool = False,
    ):
        """Makes a kernel of zeros, [size, size, in_channels / groups, out_channels]."""
        self.stride = stride
        self.padding = padding
        rows, columns = (size, size) if isinstance(size, int) else size
        self.kernel = nnx.Param(
            jnp.zeros((rows, columns, in_channels // groups, out_channels))
        )
        self.bias = nnx.Param(jnp.zeros(out_channels)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the [B, H, W, D] of `convolve`, and adds the bias."""
        out = convolve(x, self.kernel[...], stride=self.stride, padding=self.padding)
        return out if self.bias is None else out + self.bias[...].reshape(1, 1, 1, -1)


class Bias(nnx.Module):
    """Adds one value a channel."""

    def __init__(self, channels: int):
        """Makes a bias of zeros."""
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to [..., D]."""
        return x + self.bias[...].reshape((1,) * (x.ndim - 1) + (-1,))


class Linear(nnx.Module):
    """A matrix product and a bias: [B, D] to [B, K]."""

    def __init__(self, in_features: int, out_features: int):
        """Makes a kernel [D, K] and a bias [K] of zeros."""
        self.kernel = nnx.Param(jnp.zeros((in_features, out_features)))
        self.bias = nnx.Param(jnp.zeros(out_features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, D] to [B, K]."""
        return x @ self.kernel[...] + self.bias[...].reshape(1, -1)


class ConvNorm(nnx.Module):
    """A convolution and its BatchNorm, always by the stored statistics."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: int | tuple[int, int],
        stride: int = 1,
        groups: int = 1,
        padding: Padding = "SAME",
        bias: bool = False,
        epsilon: float,
        scale: bool = True,
    ):
        """Makes the pair; arguments as for `Conv` and `make_norm`."""
        self.conv = Conv(
            in_channels,
            out_channels,
            size=size,
            stride=stride,
            groups=groups,
            padding=padding,
            bias=bias,
        )
        self.norm: nnx.BatchNorm | Bias = make_norm(
            out_channels, epsilon=epsilon, scale=scale
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the [B, H, W, D] of `convolve`."""
        if isinstance(self.norm, Bias):
            return self.norm(self.conv(x))
        # Gradients of scale and mean are then sums over a kernel, not over the pixels
        # of a batch, whose values before the norm need not be kept.
        kernel, bias = self._fold(self.norm)
        out = convolve(
            x,
            kernel.astype(x.dtype),
            stride=self.conv.stride,
            padding=self.conv.padding,
        )
        return out + bias.astype(x.dtype).reshape(1, 1, 1, -1)

    def _fold(self, norm: nnx.BatchNorm) -> tuple[jax.Array, jax.Array]:
        """Returns kernel and bias that do what the pair does, in float32."""
        assert norm.bias is not None
        mean, var, beta, kernel = (
            variable[...].astype(jnp.float32)
            for variable in (norm.mean, norm.var, norm.bias, self.conv.kernel)
        )
        scale = lax.rsqrt(var + norm.epsilon)
        if norm.scale is not None:
            scale = scale * norm.scale[...].astype(jnp.float32)
        if self.conv.bias is not None:
            mean = mean - self.conv.bias[...].astype(jnp.float32)
        return kernel * scale.reshape(1, 1, 1, -1), beta - mean * scale


def make_norm(channels: int, *, epsilon: float, scale: bool = True) -> nnx.BatchNorm:
    """Makes a BatchNorm that uses its stored statistics, with or without gamma."""
    # In the constructor: Flax's default is training mode, which returns the batch's
    # own statistics without a word. Its own gamma and beta would come from random
    # keys, which take four fifths of the time to make a network, for ones and zeros.
    norm = nnx.BatchNorm(
        channels,
        use_running_average=True,
        epsilon=epsilon,
        use_bias=False,
        use_scale=False,
        rngs=cast(nnx.Rngs, None),
    )
    norm.bias = nnx.Param(jnp.zeros(channels))
    norm.scale = nnx.Param(jnp.ones(channels)) if scale else None
    return norm


def fold_batch_norms(network: nnx.Module) -> None:
    """Folds every BatchNorm of a network into its convolution, in place.

    With scale = gamma / sqrt(var + epsilon), the kernel becomes kernel * scale, and of
    the BatchNorm remains the bias beta + (b - mean) * scale, b being the convolution's
    own bias. In float64, then rounded once. One that precedes its convolution stays.
    """
    for _, module in nnx.iter_modules(network):
        if isinstance(module, ConvNorm) and isinstance(module.norm, nnx.BatchNorm):
            _fold(module, module.norm)


def _fold(module: ConvNorm, norm: nnx.BatchNorm) -> None:
    assert norm.bias is not None
    beta, mean, var = (
        np.asarray(variable[...], np.float64)
        for variable in (norm.bias, norm.mean, norm.var)
    )
    scale = 1 / np.sqrt(var + norm.epsilon)
    if norm.scale is not None:
        scale = np.asarray(norm.scale[...], np.float64) * scale
    conv = module.conv
    if conv.bias is not None:
        mean = mean - np.asarray(conv.bias[...], np.float64)
        conv.bias = None
    kernel = np.asarray(conv.kernel[...], np.float64) * scale
    conv.kernel.set_value(jnp.asarray(kernel, jnp.float32))
    module.norm = Bias(len(beta))
    module.norm.bias.set_value(jnp.asarray(beta - mean * scale, jnp.float32))
