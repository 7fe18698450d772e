"""Layers of transformers. Tokens are [B, T, D]; each layer keeps their dtype.

XLA's CPU backend multiplies two matrices much faster than it contracts tensors of more
axes, so `Dense` folds the tokens of a batch into rows, and attention is two batched
products of matrices. Norms and the softmax are computed in float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

# Of scores that count for nothing: exp of it is 0, and no sum with it overflows.
HIDDEN = -1e30


def gelu(x: jax.Array) -> jax.Array:
    """Returns x Φ(x), by the error function and not by its approximation with tanh."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """Returns x Φ(x) by the approximation with tanh, with which GPT-2 was trained."""
    return jax.nn.gelu(x, approximate=True)


def quick_gelu(x: jax.Array) -> jax.Array:
    """Returns x sigmoid(1.702 x), with which OpenAI trained CLIP."""
    return x * jax.nn.sigmoid(1.702 * x)


class Dense(nnx.Module):
    """A matrix product over the last axis, and a bias unless told otherwise."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True):
        """Makes a kernel [C, D] and a bias [D] of zeros."""
        self.kernel = nnx.Param(jnp.zeros((in_features, out_features)))
        self.bias = nnx.Param(jnp.zeros(out_features)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., C] to [..., D]."""
        out = x.reshape(-1, x.shape[-1]) @ self.kernel[...]
        if self.bias is not None:
            out = out + self.bias[...].reshape(1, -1)
        return out.reshape(*x.shape[:-1], out.shape[-1])


class KeylessDense(nnx.Module):
    """Queries, keys and values by one product, of which keys have no bias."""

    def __init__(self, features: int):
        """Makes a kernel [D, 3 D] and a bias [2 D], of queries and of values."""
        self.dense = Dense(features, 3 * features, bias=False)
        self.bias = nnx.Param(jnp.zeros(2 * features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to [..., 3 D]."""
        query, value = jnp.split(self.bias[...], 2)
        bias = jnp.concatenate([query, jnp.zeros_like(query), value])
        return self.dense(x) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class LayerNorm(nnx.Module):
    """Normalizes the last axis, then scales and shifts it."""

    def __init__(self, features: int, *, epsilon: float):
        """Makes a scale of ones and a bias of zeros, [D] each."""
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to [..., D]."""
        wide = x.astype(jnp.float32)
        centered = wide - jnp.mean(wide, axis=-1, keepdims=True)
        variance = jnp.mean(centered * centered, axis=-1, keepdims=True)
        per_feature = (1,) * (x.ndim - 1) + (-1,)
        out = centered * jax.lax.rsqrt(variance + self.epsilon)
        out = out * self.scale[...].reshape(per_feature)
        return (out + self.bias[...].reshape(per_feature)).astype(x.dtype)


class LayerScale(nnx.Module):
    """Multiplies each feature by a learned factor."""

    def __init__(self, features: int):
        """Makes a scale of ones, [D]."""
        self.scale = nnx.Param(jnp.ones(features))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to [..., D]."""
        return x * self.scale[...].reshape((1,) * (x.ndim - 1) + (-1,))


class Attention(nnx.Module):
    """Every token looks at every token that it may, in several heads."""

    def __init__(self, features: int, *, heads: int, key_bias: bool = True):
        """Makes one product for queries, keys and values, and one for the result."""
        self.heads = heads
        self.qkv: Dense | KeylessDense = (
            Dense(features, 3 * features) if key_bias else KeylessDense(features)
        )
        self.out = Dense(features, features)

    def __call__(self, x: jax.Array, bias: jax.Array | None = None) -> jax.Array:
        """Maps [B, T, D] to [B, T, D].

        Args:
          x: The tokens.
          bias: Is added to the scores, [B, heads, T, T] or what broadcasts to it: 0
            where a token may look, `HIDDEN` where not.
        """
        n, tokens, features = x.shape
        size = features // self.heads
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, size)
        query, key, value = qkv.transpose(2, 0, 3, 1, 4)
        scores = (query * size**-0.5) @ key.swapaxes(-1, -2)
        scores = scores.astype(jnp.float32)
        if bias is not None:
            scores = scores + bias
        weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
        # Divided after the product, which has fewer columns than there are tokens.
        total = jnp.sum(weights, axis=-1, keepdims=True)
        mixed = (weights.astype(x.dtype) @ value) / total.astype(x.dtype)
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(n, tokens, features))


class Mlp(nnx.Module):
    """Two dense layers with an activation between them, on each token alone."""

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        activation: Callable[[jax.Array], jax.Array] = gelu,
    ):
        """Makes the layers up to `hidden` features and down again."""
        self.activation = activation
        self.up = Dense(features, hidden)
        self.down = Dense(hidden, features)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., D] to [..., D]."""
        return self.down(self.activation(self.up(x)))


class PatchEmbed(nnx.Module):
    """Each square patch of an image becomes one vector, by a matrix product."""

    def __init__(
        self, features: int, *, patch: int, channels: int = 3, bias: bool = True
    ):
        """Makes a kernel [patch, patch, C, D] and a bias [D] of zeros."""
        self.patch = patch
        self.kernel = nnx.Param(jnp.zeros((patch, patch, channels, features)))
        self.bias = nnx.Param(jnp.zeros(features)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / patch, W / patch, D]; a rest is cut off."""
        p = self.patch
        n, rows, columns = len(x), x.shape[1] // p, x.shape[2] // p
        x = x[:, : rows * p, : columns * p].reshape(n, rows, p, columns, p, -1)
        kernel = self.kernel[...].reshape(-1, self.kernel.shape[-1])
        out = x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, len(kernel)) @ kernel
        if self.bias is not None:
            out = out + self.bias[...].reshape(1, -1)
        return out.reshape(n, rows, columns, -1)
