"""The steps that a recipe consists of, in their order."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.affine import sample_affine
from tl_pipeline.augmentation.blur import apply_blur, sample_blur
from tl_pipeline.augmentation.colors import apply_jitter, sample_jitter
from tl_pipeline.augmentation.crops import crop_matrix, sample_crop
from tl_pipeline.augmentation.erasing import apply_erasure, sample_erasure
from tl_pipeline.augmentation.orientations import sample_orientation
from tl_pipeline.augmentation.randaugment import apply_operations, sample_operations
from tl_pipeline.augmentation.recipe import Recipe
from tl_pipeline.augmentation.warp import apply_warp, chain
from tl_pipeline.errors import ConfigError

# A step's number in the keys: append only, or views that exist would change.
_NAMES = ("placing", "randaugment", "jitter", "blur", "erasing", "mixing")


class Step(NamedTuple):
    """One step, of one image.

    Attributes:
      name: What it is called, which decides what it draws.
      sample: Draws the parameters, a pytree, by a key.
      apply: Maps the image [H, W, C] float32 by them.
      branches: Whether it does something else for each image.
    """

    name: str
    sample: Callable[[jax.Array], Any]
    apply: Callable[[jax.Array, Any], jax.Array]
    branches: bool = False


def key_of(key: jax.Array, name: str) -> jax.Array:
    """Returns the key of a step: what the others draw does not depend on it."""
    return jax.random.fold_in(key, _NAMES.index(name))


def make_steps(
    recipe: Recipe, shape: tuple[int, int, int], size: tuple[int, int] | None = None
) -> list[Step]:
    """Lists what a recipe does; what it leaves out costs nothing.

    Args:
      recipe: What to do.
      shape: (H, W, C) of an image.
      size: (H', W') of the result; by default (H, W).

    Raises:
      ConfigError: The recipe turns images that are not square.
    """
    height, width, channels = shape
    size = size or (height, width)
    if recipe.quarter_turns and size[0] != size[1]:
        raise ConfigError(
            f"Asked for quarter turns of images of {size[0]} × {size[1]}: only a "
            "square one keeps its shape. Set quarter_turns = false."
        )
    steps = []
    if recipe.is_placing or size != (height, width):
        steps.append(_placing(recipe, (height, width), size))
    if recipe.randaugment:
        steps.append(
            Step(
                "randaugment",
                lambda key: sample_operations(key, recipe.randaugment),
                lambda image, drawn: apply_operations(
                    image, drawn, magnitude=recipe.randaugment_magnitude
                ),
                branches=True,
            )
        )
    if recipe.brightness or recipe.contrast or recipe.saturation or recipe.hue:
        steps.append(
            Step(
                "jitter",
                lambda key: sample_jitter(
                    key,
                    brightness=recipe.brightness,
                    contrast=recipe.contrast,
                    saturation=recipe.saturation,
                    hue=recipe.hue,
                ),
                apply_jitter,
            )
        )
    if recipe.blur:
        steps.append(
            Step(
                "blur",
                lambda key: sample_blur(
                    key, probability=recipe.blur, sigma=recipe.blur_sigma
                ),
                lambda image, sigma: apply_blur(
                    image, sigma, most=recipe.blur_sigma[1]
                ),
                branches=True,
            )
        )
    if recipe.erasing:
        steps.append(
            Step(
                "erasing",
                lambda key: sample_erasure(
                    key,
                    (*size, channels),
                    probability=recipe.erasing,
                    scale=recipe.erasing_scale,
                ),
                apply_erasure,
            )
        )
    return steps


def _placing(recipe: Recipe, shape: tuple[int, int], size: tuple[int, int]) -> Step:
    """Returns crop, flips, turns, rotation and translation as one warp."""

    def sample(key: jax.Array) -> jax.Array:
        crop_key, orientation_key, affine_key = jax.random.split(key, 3)
        box = sample_crop(
            crop_key, shape, scale=recipe.crop_scale, ratio=recipe.crop_ratio
        )
        orientation = sample_orientation(
            orientation_key,
            horizontal=recipe.horizontal_flip,
            vertical=recipe.vertical_flip,
            turns=recipe.quarter_turns,
        )
        affine = sample_affine(
            affine_key, size, degrees=recipe.rotation, share=recipe.translation
        )
        matrices = [orientation.matrix(size), affine.matrix(size)]
        if recipe.is_cropping:
            return chain(crop_matrix(box, size), *matrices)
        whole = jnp.diag(jnp.asarray([shape[1] / size[1], shape[0] / size[0], 1.0]))
        return chain(whole, *matrices)

    return Step(
        "placing", sample, lambda image, matrix: apply_warp(image, matrix, size)
    )
