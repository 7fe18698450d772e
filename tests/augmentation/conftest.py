"""A colorful image, and Pillow on it without rounding: each channel in floats."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """[24, 32, 3] float32 in [0, 1]: smooth colors, an edge, and some noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :32] / 32
    smooth = np.stack([x, y, (x + y) / 2], axis=-1)
    smooth[6:14, 8:20] = (0.9, 0.1, 0.3)
    return (0.9 * smooth + 0.1 * rng.random((24, 32, 3))).astype(np.float32)


@pytest.fixture(scope="session")
def levels(image: np.ndarray) -> np.ndarray:
    """The image in 256 levels, uint8."""
    return np.round(image * 255).astype(np.uint8)


@pytest.fixture(scope="session")
def by_channel() -> Callable[..., np.ndarray]:
    """Applies a function of a Pillow image to each channel, as 32-bit floats."""

    def apply(image: np.ndarray, change: Callable[[Image.Image], Image.Image]):
        channels = [
            np.asarray(change(Image.fromarray(channel)))
            for channel in np.moveaxis(image, -1, 0).copy()
        ]
        return np.stack(channels, axis=-1)

    return apply
