"""Token dropping: the augmentation of texts while a network is trained on them."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from tl_pipeline.augmentation.shares import read_share
from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError

SETTING = "token_dropping"
DROPPING = {"none": 0.0, "light": 0.1, "strong": 0.2}


def make_dropping(name: str, settings: Mapping[str, Json] | None = None) -> float:
    """Returns the share of tokens to drop, by a recipe's name and its setting.

    Raises:
      ConfigError: There is no such recipe, or a setting is unknown or unfit.

    Example:
      >>> make_dropping("light"), make_dropping("none", {"token_dropping": 0.3})
      (0.1, 0.3)
    """
    if name not in DROPPING:
        raise ConfigError(
            f"Asked for the augmentation {name!r}; known are {', '.join(DROPPING)}."
        )
    given = dict(settings or {})
    share = given.pop(SETTING, DROPPING[name])
    if given:
        raise ConfigError(
            f"Augmentation of texts has no setting {', '.join(given)}; it has "
            f"{SETTING}, the share of a text's tokens that a step leaves out."
        )
    return read_share(SETTING, share)


@jax.jit
def drop_tokens(keys: jax.Array, ids: jax.Array, share: jax.Array) -> jax.Array:
    """Leaves tokens out of texts, and moves those behind them up.

    A text's first and last token stay: where a tokenizer marks begin and end, these are
    the marks.

    Args:
      keys: [B], one a text.
      ids: [B, T] int32, -1 behind a text's end.
      share: The probability of each token between them to be left out.

    Returns:
      [B, T], -1 behind what is left.

    Reference:
      Wei and Zou 2019 (random deletion), https://arxiv.org/abs/1901.11196
    """
    n_tokens = ids.shape[1]
    lengths = jnp.sum(ids >= 0, axis=1, keepdims=True)
    places = jnp.arange(n_tokens)[None]
    between = (places > 0) & (places < lengths - 1)
    chance = jax.vmap(lambda key: jax.random.uniform(key, (n_tokens,)))(keys)
    dropped = between & (chance < share)
    order = jnp.argsort(dropped, axis=1, stable=True)
    return jnp.take_along_axis(jnp.where(dropped, -1, ids), order, axis=1)
