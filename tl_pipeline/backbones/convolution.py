"""Convolutions in the forms that are fast where they run. Images are [B, H, W, C].

XLA's CPU backend runs a depthwise convolution 10 to 60 times slower than the same sum
written as shifted multiply-adds, which it fuses, and a 1×1 convolution up to twice as
slow as the matrix product that it is. The gradient of a kernel is to it a convolution
with a window of the whole image, 2 to 10 times slower than one matrix product for each
pixel of the kernel. GPU libraries have their own opinions. `convolve` is the one place
that chooses.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

# "SAME" as TensorFlow has it (an odd pixel goes to the bottom and the right), or so
# many pixels on both sides of an axis, as PyTorch has it: a number, or (rows, columns).
Padding = str | int | tuple[int, int]

# From a kernel and what it is applied to, to what it gives.
_Form = Callable[[jax.Array, jax.Array], jax.Array]

# Below so many channels, products for one pixel of the kernel are too thin to be fast.
_FEW_CHANNELS = 16


def convolve(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, padding: Padding = "SAME"
) -> jax.Array:
    """Convolves in the platform's fast form, and so do its gradients.

    Args:
      x: [B, H, W, C].
      kernel: [KH, KW, C, D], or depthwise [KH, KW, 1, C].
      stride: Step along both axes.
      padding: Zeros around the image.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), D] with "SAME" padding, and
      [B, (H + 2 * padding - KH) // stride + 1, ..., D] with that of a number.
    """
    return _convolve(x, kernel, stride, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> jax.Array:
    fast, direct = _choose_forms(x, kernel, stride, padding)
    if fast is direct:
        return direct(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=fast, default=direct)


def _convolve_forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _convolve_backward(
    stride: int,
    padding: Padding,
    kept: tuple[jax.Array, jax.Array],
    cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    fast, direct = _choose_forms(*kept, stride, padding)

    def pull_by_products(
        x: jax.Array, kernel: jax.Array, cotangent: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        _, pull_x = jax.vjp(lambda x: direct(x, kernel), x)
        of_kernel = kernel_gradient(
            x, cotangent, kernel.shape[:2], stride=stride, padding=padding
        )
        return pull_x(cotangent)[0], of_kernel

    return lax.platform_dependent(
        *kept,
        cotangent,
        cpu=pull_by_products if fast is direct else functools.partial(_pull, fast),
        default=functools.partial(_pull, direct),
    )


def _pull(
    form: _Form, x: jax.Array, kernel: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    of_x, of_kernel = jax.vjp(form, x, kernel)[1](cotangent)
    return of_x, of_kernel


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _choose_forms(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding
) -> tuple[_Form, _Form]:
    """Returns the form for the CPU, and XLA's own operation."""
    options = {"stride": stride, "padding": padding}
    direct = functools.partial(convolve_directly, **options)
    if kernel.shape[2] == 1 < x.shape[-1]:
        return functools.partial(convolve_depthwise_by_shifts, **options), direct
    if kernel.shape[:2] == (1, 1) and padding in ("SAME", 0):

        def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return multiply_pixels(x[:, ::stride, ::stride], kernel)

        return product, direct
    return direct, direct


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


def kernel_gradient(
    x: jax.Array,
    cotangent: jax.Array,
    size: Sequence[int],
    *,
    stride: int,
    padding: Padding = "SAME",
) -> jax.Array:
    """Returns the gradient of a kernel that takes all channels, as matrix products.

    Args:
      x: [B, H, W, C], what was convolved.
      cotangent: [B, OH, OW, D], the gradient of the result.
      size: (KH, KW).
      stride: Step along both axes.
      padding: Zeros around the image.

    Returns:
      [KH, KW, C, D].
    """
    pads = pad_amounts(x.shape[1:3], size, stride, padding)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    n, rows, columns, width = cotangent.shape
    channels = x.shape[-1]
    last_row, last_column = stride * (rows - 1) + 1, stride * (columns - 1) + 1
    shifted = [
        lax.slice(
            padded,
            (0, i, j, 0),
            (n, i + last_row, j + last_column, channels),
            (1, stride, stride, 1),
        ).reshape(-1, channels)
        for i in range(size[0])
        for j in range(size[1])
    ]
    pixels = cotangent.reshape(-1, width)
    if channels < _FEW_CHANNELS:
        found = jnp.concatenate(shifted, axis=1).T @ pixels
    else:
        found = jnp.stack([one.T @ pixels for one in shifted])
    return found.reshape(*size, channels, width)
