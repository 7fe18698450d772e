"""Contact sheets: the plain examples, and views that training would see."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tl_pipeline.augmentation.augment import make_augment
from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.recipe import Recipe, make_recipe
from tl_pipeline.errors import DatasetError
from tl_pipeline.reporting.contact_sheet import GAP
from tl_pipeline.stages.contact_sheet import make_contact_sheet

LIGHT = make_recipe("light")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 48, 3), np.uint8)


def cell(sheet: bytes, row: int, column: int) -> np.ndarray:
    """Cuts the picture of an example and view out of a sheet."""
    pixels = np.asarray(Image.open(io.BytesIO(sheet)))
    top = pixels.shape[0] - (3 - row) * (40 + GAP)
    left = GAP + column * (48 + GAP)
    return pixels[top : top + 40, left : left + 48]


def test_a_sheet_shows_each_example_and_the_views_of_its_keys(images):
    sheet = make_contact_sheet(images, LIGHT, n_views=2, seed=5)
    for view in (1, 2):
        keys = make_keys(5, np.arange(3), view)
        made = make_augment(LIGHT)(keys, jnp.asarray(images / 255.0), jnp.eye(3))[0]
        for row in range(3):
            np.testing.assert_array_equal(cell(sheet, row, 0), images[row])
            np.testing.assert_allclose(cell(sheet, row, view), made[row] * 255, atol=1)
            assert (cell(sheet, row, view) != images[row]).any()


def test_a_sheet_is_the_same_again_and_another_by_another_seed(images):
    first, again, other = (
        make_contact_sheet(images, LIGHT, n_views=1, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_gray_sheet_is_gray(images):
    sheet = make_contact_sheet(images[..., :1], Recipe(), n_views=1)
    for view in range(2):
        wanted = np.repeat(images[1, ..., :1], 3, axis=-1)
        np.testing.assert_array_equal(cell(sheet, 1, view), wanted)


def test_a_sheet_of_nothing_or_too_much_is_refused(images):
    with pytest.raises(DatasetError, match="of 0 images"):
        make_contact_sheet(images[:0], LIGHT)
    with pytest.raises(DatasetError, match="Take fewer images"):
        make_contact_sheet(images, LIGHT, n_views=100_000)
