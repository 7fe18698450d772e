"""Augmentation of a batch by a recipe: jitted, one key an example."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.affine import apply_affine, sample_affine
from tl_pipeline.augmentation.blur import apply_blur, sample_blur
from tl_pipeline.augmentation.colors import apply_jitter, sample_jitter
from tl_pipeline.augmentation.crops import apply_crop, sample_crop
from tl_pipeline.augmentation.erasing import apply_erasure, sample_erasure
from tl_pipeline.augmentation.mixing import (
    apply_mixture,
    mix_targets,
    sample_mixture,
)
from tl_pipeline.augmentation.orientations import (
    apply_orientation,
    sample_orientation,
)
from tl_pipeline.augmentation.randaugment import apply_operations, sample_operations
from tl_pipeline.augmentation.recipe import Recipe
from tl_pipeline.errors import ConfigError

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
    but for the mixing. Compiled once for each shape.

    Args:
      recipe: What to do.
      size: (H', W') of the result; by default that of the images.

    Example:
      >>> from tl_pipeline.augmentation.keys import make_keys
      >>> from tl_pipeline.augmentation.recipe import make_recipe
      >>> augment = make_augment(make_recipe("light"))
      >>> images, targets = jnp.ones((2, 8, 8, 3)), jnp.eye(2)
      >>> augment(make_keys(0, [0, 1], 5), images, targets)[0].shape
      (2, 8, 8, 3)
    """
    view = make_view(recipe, size=size)

    def augment(
        keys: jax.Array, images: jax.Array, targets: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        images = jax.vmap(view)(keys, images)
        if not recipe.is_mixing:
            return images, targets
        _, height, width, _ = images.shape
        mixtures = jax.vmap(
            lambda key: sample_mixture(
                _key_of(key, "mixing"),
                (height, width),
                mixup=recipe.mixup,
                cutmix=recipe.cutmix,
            )
        )(keys)
        partners = jnp.roll(images, 1, axis=0)
        images = jax.vmap(apply_mixture)(images, partners, mixtures)
        partners = jnp.roll(targets, 1, axis=0)
        return images, jax.vmap(mix_targets)(targets, partners, mixtures)

    return jax.jit(augment)


def make_view(
    recipe: Recipe, *, size: tuple[int, int] | None = None
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Makes the function of a key and an image that augments one image, not jitted.

    What the recipe leaves out costs nothing, and takes no part in what the other steps
    draw. It mixes nothing: that takes two.

    Args:
      recipe: What to do.
      size: (H', W') of the result; by default that of the image.
    """

    def view(key: jax.Array, image: jax.Array) -> jax.Array:
        dtype = image.dtype
        image = image.astype(jnp.float32)
        image = _place(recipe, key, image, size or (image.shape[0], image.shape[1]))
        if recipe.randaugment:
            drawn = sample_operations(_key_of(key, "randaugment"), recipe.randaugment)
            image = apply_operations(
                image, drawn, magnitude=recipe.randaugment_magnitude
            )
        image = _color(recipe, key, image)
        if recipe.erasing:
            erasure = sample_erasure(
                _key_of(key, "erasing"),
                (image.shape[0], image.shape[1], image.shape[2]),
                probability=recipe.erasing,
                scale=recipe.erasing_scale,
            )
            image = apply_erasure(image, erasure)
        return jnp.clip(image, 0, 1).astype(dtype)

    return view


# A step's number in the keys: append only, or views that exist would change.
_STEPS = (
    *("crop", "orientation", "affine", "randaugment", "jitter", "blur", "erasing"),
    "mixing",
)


def _key_of(key: jax.Array, step: str) -> jax.Array:
    return jax.random.fold_in(key, _STEPS.index(step))


def _place(
    recipe: Recipe, key: jax.Array, image: jax.Array, size: tuple[int, int]
) -> jax.Array:
    height, width, _ = image.shape
    if recipe.crop_scale != (1.0, 1.0) or (height, width) != size:
        box = sample_crop(
            _key_of(key, "crop"),
            (height, width),
            scale=recipe.crop_scale,
            ratio=recipe.crop_ratio,
        )
        image = apply_crop(image, box, size)
    if recipe.horizontal_flip or recipe.vertical_flip or recipe.quarter_turns:
        if recipe.quarter_turns and size[0] != size[1]:
            raise ConfigError(
                f"Asked for quarter turns of images of {size[0]} × {size[1]}: only a "
                "square one keeps its shape. Set quarter_turns = false."
            )
        orientation = sample_orientation(
            _key_of(key, "orientation"),
            horizontal=recipe.horizontal_flip,
            vertical=recipe.vertical_flip,
            turns=recipe.quarter_turns,
        )
        image = apply_orientation(image, orientation, turns=recipe.quarter_turns)
    if recipe.rotation or recipe.translation:
        affine = sample_affine(
            _key_of(key, "affine"),
            size,
            degrees=recipe.rotation,
            share=recipe.translation,
        )
        image = apply_affine(image, affine)
    return image


def _color(recipe: Recipe, key: jax.Array, image: jax.Array) -> jax.Array:
    if recipe.brightness or recipe.contrast or recipe.saturation or recipe.hue:
        jitter = sample_jitter(
            _key_of(key, "jitter"),
            brightness=recipe.brightness,
            contrast=recipe.contrast,
            saturation=recipe.saturation,
            hue=recipe.hue,
        )
        image = apply_jitter(image, jitter)
    if recipe.blur:
        sigma = sample_blur(
            _key_of(key, "blur"), probability=recipe.blur, sigma=recipe.blur_sigma
        )
        image = apply_blur(image, sigma, most=recipe.blur_sigma[1])
    return image
