"""Boxes, crops and erasures: where they lie, by torchvision's rules in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tl_pipeline.augmentation.boxes import Box, pick, sample_box
from tl_pipeline.augmentation.crops import sample_crop
from tl_pipeline.augmentation.erasing import Erasure, apply_erasure, sample_erasure

N = 4000
KEYS = jax.random.split(jax.random.key(0), N)
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def crops_by_numpy(shape: tuple[int, int], scale, ratio) -> np.ndarray:
    """`RandomResizedCrop.get_params`, read from its description: [N, 4]."""
    rng = np.random.default_rng(1)
    height, width = shape
    boxes = []
    for _ in range(N):
        for _ in range(10):
            area = height * width * rng.uniform(*scale)
            aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                top = rng.integers(height - h + 1)
                boxes.append((top, rng.integers(width - w + 1), h, w))
                break
        else:
            w, h = width, height
            if width / height < ratio[0]:
                h = round(width / ratio[0])
            elif width / height > ratio[1]:
                w = round(height * ratio[1])
            boxes.append(((height - h) // 2, (width - w) // 2, h, w))
    return np.array(boxes)


def draw_crops(shape, scale=SCALE, ratio=RATIO) -> np.ndarray:
    sample = jax.jit(
        jax.vmap(lambda key: sample_crop(key, shape, scale=scale, ratio=ratio))
    )
    return np.stack(sample(KEYS), axis=-1)


@pytest.mark.parametrize("shape", [(224, 224), (160, 240), (40, 400)])
def test_crops_are_distributed_as_torchvisions(shape):
    found, wanted = draw_crops(shape), crops_by_numpy(shape, SCALE, RATIO)
    for measure in (
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
    ):
        assert stats.ks_2samp(measure(found), measure(wanted)).pvalue > 0.001


@pytest.mark.parametrize("shape", [(224, 224), (40, 400)])
def test_every_crop_lies_within_the_image(shape):
    top, left, height, width = draw_crops(shape).T
    assert (top >= 0).all() and (left >= 0).all()
    assert (height > 0).all() and (width > 0).all()
    assert (top + height <= shape[0]).all() and (left + width <= shape[1]).all()


def test_where_no_crop_fits_the_center_is_taken():
    boxes = draw_crops((10, 100), scale=(1.0, 1.0))
    assert (boxes == [0, 43, 10, 13]).all()
    boxes = draw_crops((100, 10), scale=(1.0, 1.0))
    assert (boxes == [43, 0, 13, 10]).all()


def test_a_box_says_whether_it_fits():
    _, fits = sample_box(KEYS[0], (10, 100), scale=(1.0, 1.0), ratio=RATIO)
    assert not fits


def test_a_number_below_1_picks_an_integer_below_n():
    drawn = jnp.asarray([0.0, 0.24, 0.25, 0.999, 1 - 2**-24])
    np.testing.assert_array_equal(pick(drawn, 4), [0, 0, 1, 3, 3])


def test_a_box_masks_its_own_pixels():
    mask = Box(*(jnp.int32(x) for x in (1, 2, 2, 3))).mask((4, 6))
    wanted = np.zeros((4, 6), bool)
    wanted[1:3, 2:5] = True
    np.testing.assert_array_equal(mask, wanted)


def test_an_erasure_is_one_color_in_its_box_and_the_image_elsewhere(image):
    box = Box(*(jnp.int32(x) for x in (3, 4, 10, 7)))
    color = jnp.asarray([0.1, 0.2, 0.3])
    wanted = image.copy()
    wanted[3:13, 4:11] = (0.1, 0.2, 0.3)
    found = apply_erasure(jnp.asarray(image), Erasure(box, color, jnp.asarray(True)))
    np.testing.assert_array_equal(found, wanted)
    kept = apply_erasure(jnp.asarray(image), Erasure(box, color, jnp.asarray(False)))
    np.testing.assert_array_equal(kept, image)


def test_erasures_are_as_frequent_and_as_large_as_asked():
    def sample(key):
        return sample_erasure(key, (99, 99, 3), probability=0.25, scale=(0.02, 0.33))

    drawn = jax.jit(jax.vmap(sample))(KEYS)
    assert float(drawn.is_applied.mean()) == pytest.approx(0.25, abs=0.025)
    share = np.asarray(drawn.box.height * drawn.box.width) / 99**2
    uniform = stats.uniform(0.02, 0.31).cdf
    assert stats.kstest(share, uniform).pvalue > 0.001
    assert stats.kstest(np.ravel(drawn.color), "uniform").pvalue > 0.001
