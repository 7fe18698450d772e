"""Crops, flips, turns, rotation, translation and shear, by Pillow's own."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tl_pipeline.augmentation.affine import Affine
from tl_pipeline.augmentation.boxes import Box
from tl_pipeline.augmentation.crops import crop_matrix
from tl_pipeline.augmentation.orientations import Orientation
from tl_pipeline.augmentation.warp import FILL, apply_warp, chain

SIZE = (24, 32)
BILINEAR = Image.Resampling.BILINEAR


def warp(image, matrix, size=SIZE) -> np.ndarray:
    return np.asarray(apply_warp(jnp.asarray(image), matrix, size))


def affine(**fields: float) -> Affine:
    return Affine(**{name: jnp.float32(value) for name, value in fields.items()})


def orientation(horizontal=False, vertical=False, turns=0) -> Orientation:
    return Orientation(*(jnp.asarray(x) for x in (horizontal, vertical, turns)))


@pytest.mark.parametrize("size", [(24, 32), (17, 11), (50, 41)])
@pytest.mark.parametrize("box", [(0, 0, 24, 32), (3, 5, 12, 20), (20, 28, 4, 4)])
def test_a_crop_is_pillows_extent(image, by_channel, box, size):
    top, left, height, width = box
    extent = (left, top, left + width, top + height)
    wanted = by_channel(
        image,
        lambda channel: channel.transform(
            size[::-1], Image.Transform.EXTENT, extent, BILINEAR
        ),
    )
    matrix = crop_matrix(Box(*(jnp.int32(x) for x in box)), size)
    np.testing.assert_allclose(warp(image, matrix, size), wanted, atol=2e-5)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize("horizontal", [False, True])
def test_flips_and_quarter_turns_move_every_pixel_and_change_none(
    image, horizontal, vertical, turns
):
    square = image[:, :24]
    wanted = square[:, ::-1] if horizontal else square
    wanted = wanted[::-1] if vertical else wanted
    wanted = np.rot90(wanted, turns)
    matrix = orientation(horizontal, vertical, turns).matrix((24, 24))
    np.testing.assert_array_equal(warp(square, matrix, (24, 24)), wanted)


@pytest.mark.parametrize("angle", [-30.0, -7.5, 0.0, 3.0, 15.0])
def test_a_rotation_is_pillows(image, by_channel, angle):
    wanted = by_channel(
        image, lambda channel: channel.rotate(angle, BILINEAR, fillcolor=FILL)
    )
    found = warp(image, affine(angle=angle).matrix(SIZE))
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@pytest.mark.parametrize("right, down", [(3.0, -2.0), (-4.25, 1.5)])
def test_a_translation_is_pillows_whole_pixels_or_not(image, by_channel, right, down):
    data = (1, 0, -right, 0, 1, -down)
    wanted = by_channel(
        image,
        lambda channel: channel.transform(
            SIZE[::-1], Image.Transform.AFFINE, data, BILINEAR, fillcolor=FILL
        ),
    )
    found = warp(image, affine(right=right, down=down).matrix(SIZE))
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert np.isclose(found, FILL).mean() > 0.05


@pytest.mark.parametrize("x, y", [(0.3, 0.0), (0.0, -0.2)])
def test_a_shear_is_pillows(image, by_channel, x, y):
    wanted = by_channel(
        image,
        lambda channel: channel.transform(
            SIZE[::-1],
            Image.Transform.AFFINE,
            (1, x, 0, y, 1, 0),
            BILINEAR,
            fillcolor=FILL,
        ),
    )
    found = warp(image, affine(shear_x=x, shear_y=y).matrix(SIZE))
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_chain_of_maps_is_one_map_after_the_other(image):
    box = Box(*(jnp.int32(x) for x in (2, 4, 16, 24)))
    maps = (
        crop_matrix(box, SIZE),
        orientation(horizontal=True).matrix(SIZE),
        affine(right=3.0).matrix(SIZE),
    )
    wanted = image
    for matrix in maps:
        wanted = warp(wanted, matrix)
    found = warp(image, chain(*maps))
    # What the translation brings in comes from beyond the crop, not from nowhere.
    np.testing.assert_allclose(found[:, 3:], wanted[:, 3:], atol=2e-5)
    assert not np.isclose(found[:, :3], FILL).all()
