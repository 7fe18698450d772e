"""Mixup and CutMix: targets in the proportion of what is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tl_pipeline.augmentation.mixing import (
    apply_mixture,
    mix_targets,
    sample_mixture,
)

N = 3000
KEYS = jax.random.split(jax.random.key(0), N)
SHAPE = (24, 32)


def draw(**alphas: float):
    return jax.vmap(lambda key: sample_mixture(key, SHAPE, **alphas))(KEYS)


@pytest.mark.parametrize(
    "alphas",
    [
        {"mixup": 0.4, "cutmix": 0.0},
        {"mixup": 0.0, "cutmix": 1.0},
        {"mixup": 0.2, "cutmix": 0.5},
    ],
)
def test_targets_are_mixed_as_the_pixels_are(alphas):
    """A white image with a black one: what is white is the first one's share."""
    mixtures = draw(**alphas)
    white, black = jnp.ones((*SHAPE, 3)), jnp.zeros((*SHAPE, 3))
    images = jax.vmap(lambda mixture: apply_mixture(white, black, mixture))(mixtures)
    targets = jax.vmap(
        lambda mixture: mix_targets(jnp.eye(2)[0], jnp.eye(2)[1], mixture)
    )(mixtures)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), targets[:, 0], atol=1e-5)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    assert float(targets.min()) >= 0 and 0.1 < float(targets[:, 0].std())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_of_mixup_follow_beta(alpha):
    share = np.asarray(draw(mixup=alpha, cutmix=0.0).share)
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 0.001


def test_cutmix_pastes_a_box_of_the_drawn_area_cut_off_at_the_edge():
    rng = np.random.default_rng(0)
    height, width = SHAPE
    half = 0.5 * np.sqrt(1 - rng.beta(1, 1, N))
    y, x = rng.integers(height, size=N), rng.integers(width, size=N)
    rows, columns = (half * height).astype(int), (half * width).astype(int)
    rows = np.minimum(y + rows, height) - np.maximum(y - rows, 0)
    columns = np.minimum(x + columns, width) - np.maximum(x - columns, 0)
    found = draw(mixup=0.0, cutmix=1.0)
    for mine, wanted in (
        (found.box.height, rows),
        (found.box.width, columns),
        (found.share, 1 - rows * columns / (height * width)),
    ):
        assert stats.ks_2samp(np.asarray(mine), wanted).pvalue > 0.001


def test_cutmix_keeps_pixels_whole_and_mixup_blends_them(image):
    first, second = jnp.asarray(image), jnp.asarray(1 - image)
    key = jax.random.key(3)
    pasted = apply_mixture(
        first, second, sample_mixture(key, SHAPE, mixup=0.0, cutmix=1.0)
    )
    is_either = np.isclose(pasted, first).all(-1) | np.isclose(pasted, second).all(-1)
    assert is_either.all() and not np.allclose(pasted, first)
    mixture = sample_mixture(key, SHAPE, mixup=1.0, cutmix=0.0)
    wanted = mixture.share * first + (1 - mixture.share) * second
    np.testing.assert_allclose(apply_mixture(first, second, mixture), wanted, atol=1e-6)


def test_where_both_are_asked_for_each_is_as_frequent():
    assert float(draw(mixup=0.2, cutmix=1.0).is_pasted.mean()) == pytest.approx(
        0.5, abs=0.03
    )
    assert not draw(mixup=0.2, cutmix=0.0).is_pasted.any()
    assert draw(mixup=0.0, cutmix=1.0).is_pasted.all()


def test_a_missing_target_stays_missing():
    mixture = sample_mixture(KEYS[0], SHAPE, mixup=1.0, cutmix=0.0)
    mixed = mix_targets(jnp.asarray([1.0, jnp.nan]), jnp.asarray([1.0, 0.0]), mixture)
    np.testing.assert_array_equal(np.isnan(mixed), [False, True])
