"""Layers in the forms that are fast where they run. Images are [B, H, W, C].

XLA's CPU backend runs a depthwise convolution 10 to 60 times slower than the same sum
written as shifted multiply-adds, which it fuses, and a 1×1 convolution up to twice as
slow as the matrix product that it is. GPU libraries have their own opinions. `convolve`
is the one place that chooses.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax


def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1) -> jax.Array:
    """Convolves with "SAME" padding, in the platform's fast form.

    Args:
      x: [B, H, W, C].
      kernel: [KH, KW, C, D], or depthwise [KH, KW, 1, C].
      stride: Step along both axes.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), D].
    """

    def direct(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_directly(x, kernel, stride=stride)

    def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_depthwise_by_shifts(x, kernel, stride=stride)

    if kernel.shape[2] == 1 < x.shape[-1]:
        return lax.platform_dependent(x, kernel, cpu=shifted, default=direct)
    if kernel.shape[:2] == (1, 1) and stride == 1:
        return lax.platform_dependent(x, kernel, cpu=multiply_pixels, default=direct)
    return direct(x, kernel)


def convolve_directly(x: jax.Array, kernel: jax.Array, *, stride: int) -> jax.Array:
    """Convolves as XLA's own operation; arguments as for `convolve`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def convolve_depthwise_by_shifts(
    x: jax.Array, kernel: jax.Array, *, stride: int
) -> jax.Array:
    """Convolves each channel with its own kernel, as a sum of shifted images.

    Args:
      x: [B, H, W, C].
      kernel: [KH, KW, 1, C].
      stride: Step along both axes.
    """
    n, height, width, channels = x.shape
    rows, columns = kernel.shape[:2]
    pads = lax.padtype_to_pads((height, width), (rows, columns), (stride,) * 2, "SAME")
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    out_height, out_width = -(-height // stride), -(-width // stride)
    terms = [
        lax.slice(
            padded,
            (0, i, j, 0),
            (
                n,
                i + (out_height - 1) * stride + 1,
                j + (out_width - 1) * stride + 1,
                channels,
            ),
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


class Conv(nnx.Module):
    """A convolution without bias; `groups` is 1 or the number of channels."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: int,
        stride: int = 1,
        groups: int = 1,
    ):
        """Makes a kernel of zeros, [size, size, in_channels / groups, out_channels]."""
        self.stride = stride
        self.kernel = nnx.Param(
            jnp.zeros((size, size, in_channels // groups, out_channels))
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        return convolve(x, self.kernel[...], stride=self.stride)


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
        size: int,
        stride: int = 1,
        groups: int = 1,
        epsilon: float,
    ):
        """Makes the pair; arguments as for `Conv` and `nnx.BatchNorm`."""
        self.conv = Conv(
            in_channels, out_channels, size=size, stride=stride, groups=groups
        )
        # In the constructor: Flax's default is training mode, which returns the
        # batch's own statistics without a word.
        self.norm: nnx.BatchNorm | Bias = nnx.BatchNorm(
            out_channels,
            use_running_average=True,
            epsilon=epsilon,
            rngs=nnx.Rngs(0),
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        return self.norm(self.conv(x))


def fold_batch_norms(network: nnx.Module) -> None:
    """Folds every BatchNorm of a network into its convolution, in place.

    With scale = gamma / sqrt(var + epsilon), the kernel becomes kernel * scale, and of
    the BatchNorm remains the bias beta - mean * scale. In float64, then rounded once.
    """
    for _, module in nnx.iter_modules(network):
        if isinstance(module, ConvNorm) and isinstance(module.norm, nnx.BatchNorm):
            _fold(module, module.norm)


def _fold(module: ConvNorm, norm: nnx.BatchNorm) -> None:
    assert norm.scale is not None and norm.bias is not None
    gamma, beta, mean, var = (
        np.asarray(variable[...], np.float64)
        for variable in (norm.scale, norm.bias, norm.mean, norm.var)
    )
    scale = gamma / np.sqrt(var + norm.epsilon)
    kernel = np.asarray(module.conv.kernel[...], np.float64) * scale
    module.conv.kernel.set_value(jnp.asarray(kernel, jnp.float32))
    module.norm = Bias(len(beta))
    module.norm.bias.set_value(jnp.asarray(beta - mean * scale, jnp.float32))
