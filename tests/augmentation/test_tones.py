"""Tones by Pillow's `ImageOps` and `ImageEnhance`, to the level where they have any."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tl_pipeline.augmentation.tones import (
    equalize,
    posterize,
    sharpen,
    solarize,
    stretch,
)


def values(levels: np.ndarray) -> jnp.ndarray:
    return jnp.asarray(levels / 255, jnp.float32)


def to_levels(image) -> np.ndarray:
    return np.round(np.asarray(image) * 255).astype(np.uint8)


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_posterizing_is_pillows(levels, bits):
    wanted = ImageOps.posterize(Image.fromarray(levels), bits)
    found = posterize(values(levels), jnp.int32(bits))
    np.testing.assert_array_equal(to_levels(found), np.asarray(wanted))


@pytest.mark.parametrize("threshold", [0, 77, 178, 256])
def test_solarizing_is_pillows(levels, threshold):
    wanted = ImageOps.solarize(Image.fromarray(levels), threshold)
    found = solarize(values(levels), jnp.float32(threshold / 255))
    np.testing.assert_array_equal(to_levels(found), np.asarray(wanted))


def test_stretching_is_pillows_autocontrast_to_a_level(levels):
    levels = levels // 2 + 40
    wanted = np.asarray(ImageOps.autocontrast(Image.fromarray(levels)))
    found = np.asarray(stretch(values(levels))) * 255
    np.testing.assert_allclose(found, wanted, atol=1.0)  # it cuts off, never rounds
    assert found.min() == 0 and found.max() == pytest.approx(255, abs=1e-3)


def dark(levels: np.ndarray) -> np.ndarray:
    return levels // 9


def lone(levels: np.ndarray) -> np.ndarray:
    return np.where(levels > 200, levels, 5).astype(np.uint8)


@pytest.mark.parametrize("change", [np.asarray, dark, lone])
def test_equalizing_is_pillows(levels, change):
    changed = change(levels)
    wanted = np.asarray(ImageOps.equalize(Image.fromarray(changed)))
    found = to_levels(equalize(values(changed)))
    np.testing.assert_array_equal(found, wanted)


def test_equalizing_few_pixels_changes_nothing_as_in_pillow(levels):
    few = levels[:8, :8]
    np.testing.assert_array_equal(ImageOps.equalize(Image.fromarray(few)), few)
    np.testing.assert_array_equal(to_levels(equalize(values(few))), few)


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.9])
def test_sharpening_is_pillows(levels, factor):
    wanted = ImageEnhance.Sharpness(Image.fromarray(levels)).enhance(factor)
    found = sharpen(values(levels), jnp.float32(factor))
    np.testing.assert_allclose(found, np.asarray(wanted) / 255, atol=1.5 / 255)


def test_a_flat_image_has_nothing_to_stretch():
    flat = jnp.full((4, 4, 3), 0.3)
    np.testing.assert_array_equal(stretch(flat), flat)
