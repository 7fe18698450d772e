"""Gaussian blur, by scipy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from tl_pipeline.augmentation.blur import apply_blur, sample_blur


@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.0])
def test_a_blur_is_scipys_up_to_the_reach_of_the_widest(image, sigma):
    wanted = ndimage.gaussian_filter(
        image, sigma, mode="nearest", radius=6, axes=(0, 1)
    )
    found = apply_blur(jnp.asarray(image), jnp.float32(sigma), most=2.0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_without_a_deviation_there_is_no_blur(image):
    found = apply_blur(jnp.asarray(image), jnp.float32(0), most=2.0)
    np.testing.assert_array_equal(found, image)


def test_blurs_are_as_frequent_and_as_wide_as_asked():
    keys = jax.random.split(jax.random.key(0), 4000)
    sigma = np.asarray(
        jax.vmap(lambda key: sample_blur(key, probability=0.3, sigma=(0.5, 2.0)))(keys)
    )
    drawn = sigma[sigma > 0]
    assert len(drawn) / 4000 == pytest.approx(0.3, abs=0.025)
    assert drawn.min() >= 0.5 and drawn.max() < 2
    assert drawn.mean() == pytest.approx(1.25, abs=0.04)
