import numpy as np
import pytest

from tl_pipeline.backbones.pooling import (
    adaptive_average_pool,
    average_pool,
    max_pool,
)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype("f4")


@pytest.mark.parametrize("size", [7, 8])
def test_windows_that_reach_beyond_the_image_are_left_out(size):
    pooled = max_pool(draw(1, size, size, 2), size=3, stride=2)
    assert pooled.shape == (1, 3, 3, 2)


def test_with_ceil_they_are_kept_and_see_the_image_alone():
    x = -1 - np.abs(draw(1, 8, 8, 2))
    pooled = np.asarray(max_pool(x, size=3, stride=2, ceil=True))
    assert pooled.shape == (1, 4, 4, 2)
    np.testing.assert_array_equal(pooled[0, 3, 3], x[0, 6:, 6:].max((0, 1)))


def test_a_window_wholly_in_the_padding_is_no_window():
    pooled = max_pool(draw(1, 3, 3, 1), size=2, stride=2, padding=1, ceil=True)
    assert pooled.shape == (1, 2, 2, 1)


def test_padding_never_is_the_maximum():
    x = -1 - np.abs(draw(1, 4, 4, 1))
    assert np.asarray(max_pool(x, size=3, stride=2, padding=1)).max() <= -1


def test_padded_pixels_count_in_an_average_or_not():
    x = np.ones((1, 4, 4, 1), np.float32)
    counted = average_pool(x, size=3, stride=1, padding=1, count_padding=True)
    ignored = average_pool(x, size=3, stride=1, padding=1)
    np.testing.assert_allclose(counted[0, 0, 0], 4 / 9, rtol=1e-6)
    np.testing.assert_allclose(ignored, 1, rtol=1e-6)


@pytest.mark.parametrize("n", [3, 6, 7, 10])
def test_adaptive_regions_are_those_of_pytorch(n):
    x, size = draw(2, n, n + 1, 3), 6
    pooled = np.asarray(adaptive_average_pool(x, size))
    for i in range(size):
        for j in range(size):
            rows = slice(i * n // size, -(-(i + 1) * n // size))
            columns = slice(j * (n + 1) // size, -(-(j + 1) * (n + 1) // size))
            expected = x[:, rows, columns].mean((1, 2))
            np.testing.assert_allclose(pooled[:, i, j], expected, rtol=1e-4, atol=1e-6)
