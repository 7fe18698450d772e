"""RandAugment: each operation at its magnitude by Pillow's, each as often."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from tl_pipeline.augmentation.randaugment import (
    OPERATIONS,
    Operations,
    apply_operation,
    apply_operations,
    sample_operations,
)

GRAY = (128, 128, 128)


def moved(picture: Image.Image, *data: float) -> Image.Image:
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        data,
        Image.Resampling.BILINEAR,
        fillcolor=GRAY,
    )


def by_pillow(name: str, picture: Image.Image, sign: int, share: float):
    """The table of torchvision, at a share of the strongest."""
    shift = sign * share * 150 / 331
    factor = 1 + sign * 0.9 * share
    return {
        "identity": lambda: picture,
        "shear_x": lambda: moved(picture, 1, sign * share * 0.3, 0, 0, 1, 0),
        "shear_y": lambda: moved(picture, 1, 0, 0, sign * share * 0.3, 1, 0),
        "translate_x": lambda: moved(picture, 1, 0, -shift * picture.width, 0, 1, 0),
        "translate_y": lambda: moved(picture, 1, 0, 0, 0, 1, -shift * picture.height),
        "rotate": lambda: picture.rotate(
            sign * share * 30, Image.Resampling.BILINEAR, fillcolor=GRAY
        ),
        "brightness": lambda: ImageEnhance.Brightness(picture).enhance(factor),
        "color": lambda: ImageEnhance.Color(picture).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(picture).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(picture).enhance(factor),
        "posterize": lambda: ImageOps.posterize(picture, 8 - round(4 * share)),
        "solarize": lambda: ImageOps.solarize(picture, math.ceil(255 * (1 - share))),
        "autocontrast": lambda: ImageOps.autocontrast(picture),
        "equalize": lambda: ImageOps.equalize(picture),
    }[name]()


APPLY = jax.jit(apply_operation, static_argnames="magnitude")


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("magnitude", [9, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_pillows(levels, name, magnitude, sign):
    wanted = by_pillow(name, Image.fromarray(levels), sign, magnitude / 30)
    found = APPLY(
        jnp.asarray(levels / 255, jnp.float32),
        jnp.int32(OPERATIONS.index(name)),
        jnp.float32(sign),
        magnitude=float(magnitude),
    )
    np.testing.assert_allclose(found, np.asarray(wanted) / 255, atol=1.51 / 255)
    if name != "identity" and not (name == "solarize" and magnitude == 9):
        assert not np.allclose(found, levels / 255, atol=1e-3)


def test_operations_and_directions_are_each_as_frequent():
    keys = jax.random.split(jax.random.key(0), 5000)
    drawn = jax.vmap(lambda key: sample_operations(key, 2))(keys)
    counts = np.bincount(np.ravel(drawn.kind), minlength=len(OPERATIONS))
    assert len(counts) == len(OPERATIONS)
    np.testing.assert_allclose(counts, 10_000 / len(OPERATIONS), rtol=0.15)
    assert set(np.ravel(drawn.sign)) == {-1.0, 1.0}
    assert float(drawn.sign.mean()) == pytest.approx(0, abs=0.04)
    pairs = np.corrcoef(drawn.kind[:, 0], drawn.kind[:, 1])
    assert abs(pairs[0, 1]) < 0.05


def test_operations_come_one_after_the_other(image):
    kinds = jnp.asarray([OPERATIONS.index(n) for n in ("solarize", "rotate")])
    signs = jnp.asarray([1.0, -1.0])
    once = APPLY(jnp.asarray(image), kinds[0], signs[0], magnitude=20.0)
    twice = APPLY(once, kinds[1], signs[1], magnitude=20.0)
    found = apply_operations(
        jnp.asarray(image), Operations(kinds, signs), magnitude=20.0
    )
    np.testing.assert_allclose(found, twice, atol=1e-6)
