"""Augmented views of training examples: rows of the same store, beside the plain ones.

A view is drawn by its recipe, its number and the example's content digest alone. So it
is the same one on every night, and only what is new is computed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tl_pipeline.augmentation.recipe import Recipe, make_recipe
from tl_pipeline.digest import Json, canonical_json
from tl_pipeline.errors import ConfigError
from tl_pipeline.examples import Examples
from tl_pipeline.preprocess import ImagePreprocess
from tl_pipeline.spec import View

if TYPE_CHECKING:
    import jax

    from tl_pipeline.augmentation.augment import Augment

MOST_VIEWS = np.iinfo(np.uint16).max  # that a shard can number


@dataclasses.dataclass(frozen=True)
class Views:
    """Augmented views of each training example.

    Attributes:
      count: How many; they are numbered from 1.
      recipe: What is done. It mixes nothing: a row is of one example.
      seed: Of the views.
    """

    count: int
    recipe: Recipe
    seed: int = 0

    @property
    def text(self) -> str:
        """What a shard calls the recipe: every setting that does something."""
        nothing = Recipe().to_json()
        found: dict[str, Json] = {
            name: value
            for name, value in self.recipe.to_json().items()
            if value != nothing[name]
        }
        return canonical_json({"augmentation": found, "seed": self.seed})

    def view(self, number: int) -> View:
        """Returns the view of a number."""
        return View(self.text, number)


def make_views(
    count: int, augment: str, settings: Mapping[str, Json] | None = None, seed: int = 0
) -> Views | None:
    """Makes what `[store]` asks for; None for no views.

    Mixup and CutMix are left out: they take two examples, and a row is of one.

    Args:
      count: Views of each training example.
      augment: Name of the recipe.
      settings: Those that differ from it.
      seed: Of the views.

    Raises:
      ConfigError: The recipe is unknown or unfit, or does nothing.
    """
    if not count:
        return None
    recipe = make_recipe(augment, settings)
    recipe = dataclasses.replace(recipe, mixup=0.0, cutmix=0.0)
    if recipe == Recipe() or not 0 < count <= MOST_VIEWS:
        raise ConfigError(
            f"Asked for {count} views by the augmentation {augment!r}: give at most "
            f"{MOST_VIEWS:,}, and an augmentation that changes an image, such as light."
        )
    return Views(count, recipe, seed)


def take_train(examples: Examples) -> Examples:
    """Returns the training examples, of which there are views."""
    splits = np.array(examples.splits, object)
    return examples.take(np.flatnonzero(splits == "train"))


def make_drawer(
    views: Views, number: int, preprocess: ImagePreprocess
) -> Callable[[np.ndarray, np.ndarray], "jax.Array"]:
    """Makes the function that draws one view of each picture of a batch.

    It takes pictures [B, H, W, C] of the preprocessing's dtype and content digests
    [B, 32] uint8, and returns pictures of the same shape and dtype.

    Args:
      views: Of which recipe.
      number: Which view.
      preprocess: What the pictures were made with.
    """
    import jax.numpy as jnp

    from tl_pipeline.augmentation.augment import make_augment
    from tl_pipeline.augmentation.keys import make_keys

    augment = make_augment(views.recipe)

    def draw(pictures: np.ndarray, content: np.ndarray) -> "jax.Array":
        keys = make_keys(views.seed, content, number)
        targets = jnp.zeros(len(pictures))
        drawn, _ = augment_pictures(augment, keys, pictures, targets, preprocess)
        return jnp.round(drawn).astype(preprocess.dtype)

    return draw


def augment_pictures(
    augment: "Augment",
    keys: Any,
    pictures: Any,
    targets: Any,
    preprocess: ImagePreprocess,
) -> tuple["jax.Array", "jax.Array"]:
    """Augments pictures as they come from a preprocessing.

    Args:
      augment: From `make_augment`.
      keys: [B] JAX keys.
      pictures: [B, H, W, C] of the preprocessing's dtype.
      targets: [B, ...].
      preprocess: What the pictures were made with.

    Returns:
      Pictures in the same range, float32, and the targets.
    """
    import jax.numpy as jnp

    largest = float(np.iinfo(preprocess.dtype).max)
    images = _as_rgb(jnp.asarray(pictures, jnp.float32) / largest, preprocess)
    made, mixed = augment(keys, images, targets)
    return _as_rgb(made * largest, preprocess), mixed


def _as_rgb(images: "jax.Array", preprocess: ImagePreprocess) -> "jax.Array":
    return images[..., ::-1] if preprocess.color == "bgr" else images
