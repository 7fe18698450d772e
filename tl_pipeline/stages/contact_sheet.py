"""What a recipe makes of some examples, as a picture."""

import json

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tl_pipeline.augmentation.augment import make_augment
from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.recipe import Recipe
from tl_pipeline.errors import DatasetError
from tl_pipeline.reporting.contact_sheet import draw_contact_sheet

MOST_PIXELS = 50_000_000  # of a sheet


def make_contact_sheet(
    images: np.ndarray,
    recipe: Recipe,
    *,
    n_views: int = 8,
    seed: int = 0,
    examples: ArrayLike | None = None,
) -> bytes:
    """Draws each example and its first views, as training sees them.

    A recipe that mixes mixes each row with the row above it.

    Args:
      images: [n, H, W, C] uint8, RGB or gray.
      recipe: What is done to them.
      n_views: How many views of each, from view 1 on.
      seed: Of the views.
      examples: Whose views, as `make_keys` takes them; by default row numbers.

    Returns:
      A PNG file's bytes: a row an example, the plain one first.

    Raises:
      DatasetError: There are no images, or too many for one picture.
    """
    n = len(images)
    if not n or images[0].size * n * (n_views + 1) > 3 * MOST_PIXELS:
        raise DatasetError(
            f"Asked for a contact sheet of {n} images and {n_views} views of each: "
            f"it shows at least one image, and at most {MOST_PIXELS:,} pixels. Take "
            "fewer images."
        )
    augment = make_augment(recipe)
    rows = np.arange(n) if examples is None else np.asarray(examples)
    plain = jnp.asarray(images, jnp.float32) / 255
    columns = [images]
    for view in range(1, n_views + 1):
        made, _ = augment(make_keys(seed, rows, view), plain, jnp.eye(n))
        columns.append(np.round(np.asarray(made) * 255).astype(np.uint8))
    return draw_contact_sheet(
        np.stack(columns, axis=1),
        columns=["plain", *(f"view {k}" for k in range(1, n_views + 1))],
        title=_describe(recipe),
    )


def _describe(recipe: Recipe) -> str:
    """Names what the recipe does beyond doing nothing."""
    nothing = Recipe().to_json()
    settings = [
        f"{name} {json.dumps(value)}"
        for name, value in recipe.to_json().items()
        if value != nothing[name]
    ]
    return ", ".join(settings) or "no augmentation"
