import functools

import jax
import numpy as np
import pytest
from flax import nnx

from tl_pipeline.backbones.convolution import (
    convolve,
    convolve_depthwise_by_shifts,
    convolve_directly,
    multiply_pixels,
)
from tl_pipeline.backbones.layers import (
    Bias,
    ConvNorm,
    fold_batch_norms,
    relu,
    relu6,
)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype("f4")


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(7, 8), (8, 7), (1, 1), (2, 5)])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_both_forms_of_a_depthwise_convolution_agree(stride, size, kernel_size):
    x, kernel = draw(2, *size, 6), draw(kernel_size, kernel_size, 1, 6)
    shifted = convolve_depthwise_by_shifts(x, kernel, stride=stride)
    direct = convolve_directly(x, kernel, stride=stride)
    np.testing.assert_allclose(shifted, direct, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 2, (1, 0)])
def test_they_agree_with_padding_equal_on_both_sides(stride, padding):
    x, kernel = draw(2, 8, 7, 6), draw(3, 3, 1, 6)
    shifted = convolve_depthwise_by_shifts(x, kernel, stride=stride, padding=padding)
    direct = convolve_directly(x, kernel, stride=stride, padding=padding)
    rows, _ = padding if isinstance(padding, tuple) else (padding, padding)
    assert direct.shape[1] == (8 + 2 * rows - 3) // stride + 1
    np.testing.assert_allclose(shifted, direct, rtol=1e-5, atol=1e-5)


def test_both_forms_of_a_1x1_convolution_agree():
    x, kernel = draw(2, 5, 7, 6), draw(1, 1, 6, 9)
    product, direct = multiply_pixels(x, kernel), convolve_directly(x, kernel, stride=1)
    np.testing.assert_allclose(product, direct, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 3, 1, 6), 2), ((1, 1, 6, 9), 1), ((1, 1, 6, 9), 2), ((3, 3, 6, 4), 2)],
)
def test_the_chosen_form_is_the_same_convolution_compiled_too(kernel, stride):
    x, kernel = draw(2, 5, 7, 6), draw(*kernel)
    direct = convolve_directly(x, kernel, stride=stride)
    chosen = jax.jit(convolve, static_argnames="stride")(x, kernel, stride=stride)
    np.testing.assert_allclose(chosen, direct, rtol=1e-5, atol=1e-5)


def test_on_the_cpu_depthwise_and_1x1_are_no_convolutions_of_xla():
    if jax.default_backend() != "cpu":
        pytest.skip("the fast forms are for the CPU")
    for shape in ((3, 3, 1, 6), (1, 1, 6, 9)):
        lowered = jax.jit(convolve).lower(draw(2, 5, 7, 6), draw(*shape))
        assert "stablehlo.convolution" not in lowered.as_text()


def test_a_convolution_of_one_channel_is_not_taken_for_a_depthwise_one():
    x, kernel = draw(2, 6, 6, 1), draw(3, 3, 1, 4)
    assert convolve(x, kernel).shape == (2, 6, 6, 4)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        ((3, 3, 1, 6), 1, "SAME", (9, 8)),
        ((5, 5, 1, 6), 2, 2, (8, 11)),
        ((3, 3, 20, 4), 1, 1, (7, 8)),
        ((3, 3, 20, 4), 2, "SAME", (9, 8)),
        ((5, 3, 3, 4), 2, (2, 0), (8, 11)),
        ((7, 7, 3, 4), 2, 3, (12, 12)),
        ((1, 1, 6, 9), 2, "SAME", (5, 7)),
    ],
)
def test_gradients_are_those_of_the_convolution_itself(kernel, stride, padding, size):
    x = draw(2, *size, kernel[3] if kernel[2] == 1 else kernel[2])

    def pull(form):
        form = functools.partial(form, stride=stride, padding=padding)
        weight = draw(*jax.eval_shape(form, x, draw(*kernel)).shape, seed=1)
        add_up = jax.grad(lambda x, k: (form(x, k) * weight).sum(), argnums=(0, 1))
        return jax.jit(add_up)(x, draw(*kernel))

    for ours, plain in zip(pull(convolve), pull(convolve_directly), strict=True):
        assert np.abs(ours - plain).max() <= 1e-5 * np.abs(plain).max()


def test_on_the_cpu_the_gradient_of_a_kernel_is_no_convolution_of_xla():
    if jax.default_backend() != "cpu":
        pytest.skip("the fast forms are for the CPU")

    def add_up(kernel, x):
        return (convolve(x, kernel) ** 2).sum()

    given = draw(3, 3, 6, 4), draw(2, 5, 7, 6)
    program = jax.jit(jax.grad(add_up)).lower(*given).compile().as_text()
    # That of the forward pass remains.
    assert " dot(" in program and program.count(" convolution(") <= 1


@pytest.mark.parametrize(
    ("ours", "plain"), [(relu, jax.nn.relu), (relu6, jax.nn.relu6)]
)
def test_activations_and_their_gradients_are_those_of_jax(ours, plain):
    x = 5 * draw(50)
    (y, back), (expected, plain_back) = jax.vjp(ours, x), jax.vjp(plain, x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(back(draw(50, seed=1)), plain_back(draw(50, seed=1)))
    assert 0 < (y == 6).sum() + (y == 0).sum() < 50


def make_conv_norm() -> ConvNorm:
    module = ConvNorm(3, 5, size=3, epsilon=1e-3)
    assert isinstance(module.norm, nnx.BatchNorm)
    assert module.norm.scale is not None and module.norm.bias is not None
    module.conv.kernel.set_value(draw(3, 3, 3, 5))
    module.norm.scale.set_value(draw(5, seed=1))
    module.norm.bias.set_value(draw(5, seed=2))
    module.norm.mean.set_value(draw(5, seed=3))
    module.norm.var.set_value(draw(5, seed=4) ** 2)
    return module


def test_batch_norm_uses_stored_statistics_and_leaves_them_alone():
    module = make_conv_norm()
    assert isinstance(module.norm, nnx.BatchNorm)
    before = np.asarray(module.norm.mean[...])
    x = draw(4, 6, 6, 3)
    # In training mode a row would depend on the others of its batch.
    np.testing.assert_allclose(module(x)[:1], module(x[:1]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(module.norm.mean[...], before)
    hidden = np.asarray(module.conv(x))
    scale = np.asarray(module.norm.scale[...]) / np.sqrt(module.norm.var[...] + 1e-3)
    expected = (hidden - before) * scale + np.asarray(module.norm.bias[...])
    np.testing.assert_allclose(module(x), expected, rtol=1e-4, atol=1e-5)


def test_folding_keeps_the_function_and_drops_the_batch_norm():
    module, x = make_conv_norm(), draw(4, 6, 6, 3)
    before = np.asarray(module(x))
    fold_batch_norms(module)
    assert isinstance(module.norm, Bias)
    np.testing.assert_allclose(module(x), before, rtol=1e-5, atol=1e-5)


def test_folding_takes_in_a_bias_and_a_norm_without_gamma():
    module = ConvNorm(3, 5, size=3, epsilon=1e-3, bias=True, scale=False)
    assert isinstance(module.norm, nnx.BatchNorm)
    assert module.norm.scale is None and module.norm.bias is not None
    assert module.conv.bias is not None
    module.conv.kernel.set_value(draw(3, 3, 3, 5))
    module.conv.bias.set_value(draw(5, seed=1))
    module.norm.bias.set_value(draw(5, seed=2))
    module.norm.mean.set_value(draw(5, seed=3))
    module.norm.var.set_value(draw(5, seed=4) ** 2)
    x = draw(4, 6, 6, 3)
    before = np.asarray(module(x))
    fold_batch_norms(module)
    assert isinstance(module.norm, Bias) and module.conv.bias is None
    np.testing.assert_allclose(module(x), before, rtol=1e-4, atol=1e-4)
