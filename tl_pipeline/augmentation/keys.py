"""The key of an example's view: of seed, example and view, never of its neighbors."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike


def make_keys(seed: int, examples: ArrayLike, view: ArrayLike) -> jax.Array:
    """Makes the key of each example of a batch.

    Args:
      seed: Of all randomness; another one gives other views.
      examples: [B, 32] uint8 content digests, whose first 8 bytes count, or [B] row
        numbers.
      view: Which view of it: a scalar, such as the training step, or [B].

    Returns:
      [B] typed JAX keys, the same on every machine.

    Example:
      >>> alone, together = make_keys(0, [7], 3)[0], make_keys(0, [5, 7], 3)[1]
      >>> bool(alone == together)
      True
    """
    examples = np.asarray(examples)
    if examples.ndim == 2:
        words = np.ascontiguousarray(examples[:, :8]).view(">u4").astype(np.uint32)
    else:
        words = examples.astype(np.uint32)[:, None]
    views = jnp.broadcast_to(jnp.asarray(view, jnp.uint32), len(words))
    # By name: the default generator is a setting of JAX.
    return _fold(jax.random.key(seed, impl="threefry2x32"), jnp.asarray(words), views)


@jax.jit
def _fold(key: jax.Array, words: jax.Array, views: jax.Array) -> jax.Array:
    def fold(words: jax.Array, view: jax.Array) -> jax.Array:
        folded = key
        for word in words:
            folded = jax.random.fold_in(folded, word)
        return jax.random.fold_in(folded, view)

    return jax.vmap(fold)(words, views)
