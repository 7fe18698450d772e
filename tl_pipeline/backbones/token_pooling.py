"""Pooling over the tokens of a text, or the frames of a recording.

Tokens are [B, T, D], and a mask [B, T] tells which of them there are: what stands
behind a text's end is never looked at.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


def pool_tokens(x: jax.Array, mask: jax.Array, pooling: str) -> jax.Array:
    """Pools over the tokens that there are.

    Args:
      x: [B, T, D] float32.
      mask: [B, T] bool, with at least one that is true.
      pooling: `"cls"`, the first token; `"last"`; `"mean"`; or `"max"`.

    Returns:
      [B, D].
    """
    return _POOL[pooling](x, mask[..., None])


def _last(x: jax.Array, mask: jax.Array) -> jax.Array:
    behind = jnp.argmax(mask[:, ::-1], axis=1, keepdims=True)  # [B, 1, 1]
    places = mask.shape[1] - 1 - behind
    return jnp.take_along_axis(x, places, axis=1)[:, 0]


def _mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(mask, x, 0), axis=1) / jnp.sum(mask, axis=1)


def _max(x: jax.Array, mask: jax.Array) -> jax.Array:
    return jnp.max(jnp.where(mask, x, -jnp.inf), axis=1)


_POOL: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "cls": lambda x, _: x[:, 0],
    "last": _last,
    "max": _max,
    "mean": _mean,
}
