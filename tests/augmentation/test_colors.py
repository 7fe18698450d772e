"""Colors by Pillow's `ImageEnhance`, and hues by `colorsys`."""

import colorsys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tl_pipeline.augmentation.colors import (
    Jitter,
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    apply_jitter,
)

ENHANCED = (
    (adjust_brightness, ImageEnhance.Brightness),
    (adjust_contrast, ImageEnhance.Contrast),
    (adjust_saturation, ImageEnhance.Color),
)


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
@pytest.mark.parametrize("adjust, enhance", ENHANCED)
def test_colors_are_pillows(levels, adjust, enhance, factor):
    wanted = np.asarray(enhance(Image.fromarray(levels)).enhance(factor)) / 255
    found = adjust(jnp.asarray(levels / 255, jnp.float32), jnp.float32(factor))
    # Pillow rounds the gray it blends with, and cuts the result off to 256 levels.
    np.testing.assert_allclose(found, wanted, atol=(1 + abs(factor - 1) / 2) / 255)


@pytest.mark.parametrize("turns", [-0.5, -0.1, 0.0, 0.07, 0.5])
def test_hues_are_those_of_colorsys(image, turns):
    wanted = np.empty_like(image)
    for at in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[at].tolist())
        wanted[at] = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
    found = adjust_hue(jnp.asarray(image), jnp.float32(turns))
    np.testing.assert_allclose(found, wanted, atol=3e-6)


def test_the_hue_of_grays_black_and_white_is_nothing():
    flat = jnp.asarray([[[0.0] * 3, [0.4] * 3, [1.0] * 3]])
    np.testing.assert_array_equal(adjust_hue(flat, jnp.float32(0.3)), flat)


def test_jitter_goes_from_brightness_over_contrast_and_saturation_to_hue(image):
    jitter = Jitter(*(jnp.float32(x) for x in (1.4, 1.8, 0.5, 0.1)))
    wanted = adjust_brightness(jnp.asarray(image), jitter.brightness)
    wanted = adjust_contrast(wanted, jitter.contrast)
    wanted = adjust_hue(adjust_saturation(wanted, jitter.saturation), jitter.hue)
    found = apply_jitter(jnp.asarray(image), jitter)
    np.testing.assert_array_equal(found, wanted)


def test_a_gray_image_has_neither_saturation_nor_hue(image):
    gray = jnp.asarray(image[..., :1])
    np.testing.assert_array_equal(adjust_saturation(gray, jnp.float32(0.2)), gray)
    np.testing.assert_array_equal(adjust_hue(gray, jnp.float32(0.2)), gray)
    found = adjust_contrast(gray, jnp.float32(0.0))
    np.testing.assert_allclose(found, gray.mean(), atol=1e-6)
