"""Corruptions at each severity, by Pillow, `colorsys`, formulas and their spread."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from tl_pipeline.errors import ConfigError

CONTENT = bytes(range(32))
# By input size, as printed in the code of ImageNet-C and CIFAR-10-C.
PUBLISHED = {
    "noise": {224: (0.08, 0.12, 0.18, 0.26, 0.38), 32: (0.04, 0.06, 0.08, 0.09, 0.1)},
    "blur": {224: (1, 2, 3, 4, 6), 32: (0.4, 0.6, 0.7, 0.8, 1)},
    "jpeg": {224: (25, 18, 15, 10, 7), 32: (80, 65, 58, 50, 40)},
    "brightness": {224: (0.1, 0.2, 0.3, 0.4, 0.5), 32: (0.05, 0.1, 0.15, 0.2, 0.3)},
    "contrast": {224: (0.4, 0.3, 0.2, 0.1, 0.05), 32: (0.75, 0.5, 0.4, 0.3, 0.15)},
}
SIDE = pytest.mark.parametrize("side", [224, 32])
SEVERITY = pytest.mark.parametrize("severity", SEVERITIES)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 7, 3), np.uint8)
    return np.array(
        Image.fromarray(coarse).resize((196, 224), Image.Resampling.BICUBIC)
    )


def made(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    return corrupt(image, name, severity, content=CONTENT)


@SIDE
@SEVERITY
def test_noise_is_gaussian_of_the_published_deviation(severity, side):
    gray = np.full((side, 5000, 3), 128, np.uint8)
    wanted = PUBLISHED["noise"][side][severity - 1]
    added = np.random.default_rng(0).normal(0, wanted, gray.shape)
    wanted = np.clip(128 / 255 + added, 0, 1).std() * 255
    noisy = made(gray, "noise", severity).astype(float)
    assert noisy.std() == pytest.approx(wanted, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=1.5)
    red, green = noisy[..., 0].ravel(), noisy[..., 1].ravel()
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.03


@pytest.mark.parametrize("side", [224, 112, 32])
@SEVERITY
def test_a_blur_is_gaussian_of_the_published_deviation(severity, side):
    # That of 224 pixels is scaled with the side.
    published = PUBLISHED["blur"][224 if side > 32 else 32]
    sigma = published[severity - 1] * (side / 224 if side > 32 else 1)
    point = np.zeros((side, side, 1), np.uint8)
    point[side // 2] = 255
    offsets = np.arange(side) - side // 2
    wanted = np.exp(-0.5 * (offsets / sigma) ** 2)
    wanted *= 255 / wanted.sum()
    found = made(point, "blur", severity)[:, side // 3, 0]
    np.testing.assert_allclose(found, wanted, atol=0.6)


@SIDE
@SEVERITY
def test_jpeg_is_pillows_of_the_published_quality(image, severity, side):
    image = np.ascontiguousarray(image[:side])
    buffer = io.BytesIO()
    quality = PUBLISHED["jpeg"][side][severity - 1]
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    wanted = np.array(Image.open(buffer))
    np.testing.assert_array_equal(made(image, "jpeg", severity), wanted)


@SEVERITY
def test_brightness_adds_to_the_value_and_keeps_hue_and_saturation(image, severity):
    more = PUBLISHED["brightness"][32][severity - 1]
    small = image[::9, ::16].copy()
    small[0, 0] = 0
    found = made(small, "brightness", severity)
    for at in np.ndindex(small.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(small[at] / 255.0))
        wanted = colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1))
        np.testing.assert_allclose(found[at] / 255, wanted, atol=0.51 / 255)


@SIDE
@SEVERITY
def test_contrast_draws_each_channel_to_its_mean(image, severity, side):
    image = image[:side]
    factor = PUBLISHED["contrast"][side][severity - 1]
    mean = image.mean(axis=(0, 1))
    wanted = mean + (image - mean) * factor
    np.testing.assert_allclose(made(image, "contrast", severity), wanted, atol=0.51)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_is_farther_from_the_image(image, name):
    away = [
        np.abs(made(image, name, severity).astype(float) - image).mean()
        for severity in SEVERITIES
    ]
    assert away == sorted(away) and away[0] > 0.1


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_example_is_always_corrupted_the_same_way(image, name, channels):
    image = image[..., :channels]
    first, again = (made(image, name, 3) for _ in range(2))
    assert first.dtype == np.uint8 and first.shape == image.shape
    np.testing.assert_array_equal(first, again)
    other = corrupt(image, name, 3, content=bytes(32))
    assert (other != first).any() == (name == "noise")


def test_what_is_not_known_is_refused(image):
    with pytest.raises(ConfigError, match="known are noise, blur, jpeg"):
        made(image, "fog", 1)
    with pytest.raises(ConfigError, match="at severity 6; there are 1 to 5"):
        made(image, "blur", 6)
