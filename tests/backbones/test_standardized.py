import jax
import numpy as np
from flax import nnx

from tl_pipeline.backbones.standardized import (
    GroupNorm,
    StandardizedConv,
    standardize_kernels,
)


def make_conv(deviation: float, epsilon: float) -> StandardizedConv:
    conv = StandardizedConv(6, 4, size=3, padding=1, epsilon=epsilon)
    rng = np.random.default_rng(0)
    conv.kernel.set_value(0.5 + deviation * rng.standard_normal((3, 3, 6, 4), "f4"))
    return conv


def test_a_kernel_standardized_for_good_convolves_as_one_that_is_each_time():
    x = np.random.default_rng(1).standard_normal((2, 5, 5, 6), "f4")
    network = nnx.Dict(conv=make_conv(0.01, 1e-4))
    each_time = network.conv(x)
    standardize_kernels(network)
    np.testing.assert_allclose(network.conv(x), each_time, rtol=1e-4, atol=1e-4)
    # Twice is once: variance 1 / 2 would become 1.
    kernel = np.asarray(network.conv.kernel[...])
    standardize_kernels(network)
    np.testing.assert_array_equal(network.conv.kernel[...], kernel)


def test_epsilon_is_added_to_the_variance_before_the_root():
    conv = make_conv(0.01, 1e-4)
    variance = np.var(conv.kernel[...], axis=(0, 1, 2))
    standardize_kernels(nnx.Dict(conv=conv))
    kernel = np.asarray(conv.kernel[...])
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
    expected = variance / (variance + 1e-4)
    np.testing.assert_allclose(kernel.var((0, 1, 2)), expected, rtol=1e-4)


def test_each_image_is_normalized_by_groups_of_neighboring_channels():
    norm = GroupNorm(8, groups=2)
    x = 3 + np.random.default_rng(0).standard_normal((2, 4, 4, 8), "f4")
    x[1] *= 100  # another image's values change nothing
    out = np.asarray(jax.jit(norm)(x)).reshape(2, 16, 2, 4)
    np.testing.assert_allclose(out.mean((1, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(out.var((1, 3)), 1, rtol=1e-3)
