"""Layers in the forms that are fast where they run. Images are [B, H, W, C].

XLA's CPU backend runs a depthwise convolution 10 to 60 times slower than the same sum
written as shifted multiply-adds, which it fuses, and a 1×1 convolution up to twice as
slow as the matrix product that it is. GPU libraries have their own opinions. `convolve`
is the one place that chooses.
"""

from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

# "SAME" as TensorFlow has it (an odd pixel goes to the bottom and the right), or so
# many pixels on both sides of an axis, as PyTorch has it: a number, or (rows, columns).
Padding = str | int | tuple[int, int]


def convolve(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding = "SAME"
) -> jax.Array:
    """Convolves in the platform's fast form.

    Args:
      x: [B, H, W, C].
      kernel: [KH, KW, C, D], or depthwise [KH, KW, 1, C].
      stride: Step along both axes.
      padding: Zeros around the image.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), D] with "SAME" padding, and
      [B, (H + 2 * padding - KH) // stride + 1, ..., D] with that of a number.
    """

    def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_directly(x, kernel, stride=stride, padding=padding)

    def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_depthwise_by_shifts(x, kernel, stride=stride, padding=padding)

    def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return multiply_pixels(x[:, ::stride, ::stride], kernel)

    if kernel.shape[2] == 1 < x.shape[-1]:
        return lax.platform_dependent(x, kernel, cpu=shifted, default=direct)
    if kernel.shape[:2] == (1, 1) and padding in ("SAME", 0):
        return lax.platform_dependent(x, kernel, cpu=product, default=direct)
    return direct(x, kernel)


def convolve_directly(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding = "SAME"
) -> jax.Array:
    """Convolves as XLA's own operation; arguments as for `convolve`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=pad_amounts(x.shape[1:3], kernel.shape[:2], stride, padding),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def convolve_depthwise_by_shifts(
    x: jax.Array, kernel: jax.Array, *, stride: int, padding: Padding = "SAME"
) -> jax.Array:
    """Convolves each channel with its own kernel, as a sum of shifted images.

    Args:
      x: [B, H, W, C].
      kernel: [KH, KW, 1, C].
      stride: Step along both axes.
      padding: Zeros around the image.
    """
    n, channels = len(x), x.shape[-1]
    rows, columns = kernel.shape[:2]
    pads = pad_amounts(x.shape[1:3], (rows, columns), stride, padding)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    last_row, last_column = padded.shape[1] - rows, padded.shape[2] - columns
    terms = [
        lax.slice(
            padded,
            (0, i, j, 0),
            (n, i + last_row + 1, j + last_column + 1, channels),
            (1, stride, stride, 1),
        )
        * kernel[i, j].reshape(1, 1, 1, channels)
        for i in range(rows)
        for j in range(columns)
    ]
    return sum(terms[1:], start=terms[0])


def multiply_pixels(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with a 1×1 kernel [1, 1, C, D] as one matrix product over pixels."""
    out = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return out.reshape(*x.shape[:-1], kernel.shape[-1])


def pad_amounts(
    size: Sequence[int], window: Sequence[int], stride: int, padding: Padding
) -> list[tuple[int, int]]:
    """Returns the pixels to add before and after the rows, and the columns.

    Example:
      >>> pad_amounts((8, 8), (3, 3), 2, "SAME"), pad_amounts((8, 8), (3, 3), 2, 1)
      ([(0, 1), (0, 1)], [(1, 1), (1, 1)])
    """
    if isinstance(padding, str):
        return list(lax.padtype_to_pads(size, window, (stride, stride), padding))
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    return [(rows, rows), (columns, columns)]


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
        return self.norm(self.conv(x))


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
