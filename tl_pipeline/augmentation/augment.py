"""Augmentation of a batch by a recipe: jitted, one key an example."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.mixing import (
    apply_mixture,
    mix_targets,
    sample_mixture,
)
from tl_pipeline.augmentation.recipe import Recipe
from tl_pipeline.augmentation.steps import key_of, make_steps

Augment = Callable[
    [jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]
]  # keys [B], images [B, H, W, C], targets [B, ...] -> images, targets


@functools.cache
def make_augment(recipe: Recipe, *, size: tuple[int, int] | None = None) -> Augment:
    """Makes the function that augments a batch and its targets.

    It takes keys [B], as `make_keys` makes them, images [B, H, W, C] floating in
    [0, 1], RGB or gray, and targets; it returns images [B, H', W', C] of their dtype in
    [0, 1], and targets. Targets pass as they are unless the recipe mixes; then they are
    [B, K] floating, and the partner of a row is the row before it: rows that only fill
    up a batch must not be there. An example's view does not depend on its neighbors,
    but for the mixing.

    Each step is compiled by itself, once for each shape. Inside another `jit` it works,
    but there XLA may compute one step again for each pixel that the next one reads.

    Args:
      recipe: What to do.
      size: (H', W') of the result; by default that of the images.

    Raises:
      ConfigError: On call, where the recipe turns images that are not square.

    Example:
      >>> from tl_pipeline.augmentation.keys import make_keys
      >>> from tl_pipeline.augmentation.recipe import make_recipe
      >>> augment = make_augment(make_recipe("light"))
      >>> images, targets = jnp.ones((2, 8, 8, 3)), jnp.eye(2)
      >>> augment(make_keys(0, [0, 1], 5), images, targets)[0].shape
      (2, 8, 8, 3)
    """

    def augment(
        keys: jax.Array, images: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        dtype = images.dtype
        _, height, width, channels = images.shape
        sample, applies = _compile(recipe, (height, width, channels), size)
        drawn, mixtures = sample(keys)
        images = images.astype(jnp.float32)
        for apply, parameters in zip(applies, drawn, strict=True):
            images = apply(images, parameters)
        if recipe.is_mixing:
            images, targets = _mix(images, targets, mixtures)
        return images.astype(dtype), targets

    return augment


def make_view(
    recipe: Recipe, *, size: tuple[int, int] | None = None
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Makes the function of a key and an image that augments one image, not jitted.

    It mixes nothing: that takes two.

    Args:
      recipe: What to do.
      size: (H', W') of the result; by default that of the image.
    """

    def view(key: jax.Array, image: jax.Array) -> jax.Array:
        height, width, channels = image.shape
        dtype, image = image.dtype, image.astype(jnp.float32)
        for step in make_steps(recipe, (height, width, channels), size):
            image = step.apply(image, step.sample(key_of(key, step.name)))
        return image.astype(dtype)

    return view


@functools.cache
def _compile(
    recipe: Recipe, shape: tuple[int, int, int], size: tuple[int, int] | None
) -> tuple[Callable, list[Callable]]:
    steps = make_steps(recipe, shape, size)

    def sample(key: jax.Array):
        drawn = [step.sample(key_of(key, step.name)) for step in steps]
        if not recipe.is_mixing:
            return drawn, None
        mixture = sample_mixture(
            key_of(key, "mixing"),
            size or shape[:2],
            mixup=recipe.mixup,
            cutmix=recipe.cutmix,
        )
        return drawn, mixture

    applies = [
        jax.jit(_looped(step.apply) if step.branches else jax.vmap(step.apply))
        for step in steps
    ]
    return jax.jit(jax.vmap(sample)), applies


def _looped(apply: Callable) -> Callable:
    # Over a batch all branches are computed for every image. Where cores are few,
    # images one after the other, each by its own branch, are ten times as fast.
    if jax.default_backend() != "cpu":
        return jax.vmap(apply)
    return lambda images, drawn: jax.lax.map(lambda one: apply(*one), (images, drawn))


@jax.jit
def _mix(images: jax.Array, targets: jax.Array, mixtures):
    mixed = jax.vmap(apply_mixture)(images, jnp.roll(images, 1, axis=0), mixtures)
    partners = jnp.roll(targets, 1, axis=0)
    return mixed, jax.vmap(mix_targets)(targets, partners, mixtures)
