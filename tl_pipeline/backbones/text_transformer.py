"""The network of all text backbones: BERT and its kin, GPT-2, and CLIP's text tower.

Outputs, of T tokens and D features:

* `layer0` [T, D]: what the first block takes;
* `layer1` and so on: the tokens after each block. Where norms stand at the beginning of
  the branches (GPT-2, CLIP), the last one is after the last norm. So they are the
  `hidden_states` of transformers, but that CLIP's last is its `last_hidden_state`;
* `pooler` [D]: of BERT, the first token through a dense layer and tanh, transformers'
  `pooler_output`; of CLIP, the token with the highest id, the end of the text;
* `embedding`: CLIP's projection of `pooler`, before it is scaled to length 1;
* `sentence` [D]: the last layer, pooled and scaled as sentence-transformers'
  configuration beside the weights says.

References:
  Devlin et al. 2018, https://arxiv.org/abs/1810.04805
  Reimers and Gurevych 2019 (sentences), https://arxiv.org/abs/1908.10084
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.attention import (
    HIDDEN,
    Attention,
    Dense,
    LayerNorm,
    Mlp,
    gelu,
    gelu_tanh,
    quick_gelu,
)
from tl_pipeline.backbones.token_pooling import pool_tokens

_ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_new": gelu_tanh,
    "quick_gelu": quick_gelu,
}


class Shape(NamedTuple):
    """What tells one text transformer from another.

    Attributes:
      width: D.
      depth: Blocks.
      heads: Of each block.
      vocabulary: Tokens that it has embeddings of.
      positions: Most tokens of a text.
      epsilon: Of every LayerNorm.
      activation: One of transformers' names.
      types: Kinds of segment, of which a text is the first; 0 where there are none.
      first_position: Row of the table of positions that the first token takes.
      pre_norm: Whether norms stand at the beginning of the branches, and one at the
        end of all, or each after the sum of a branch.
      causal: Whether a token looks at those before it alone.
      pooler: `"tanh"`, BERT's; `"end"`, CLIP's; or `""`, none.
      embedding: Features of the last projection; 0 for none.
      sentence: The pooling of `sentence`, or `""`.
      normalize: Whether `sentence` is scaled to length 1.
    """

    width: int
    depth: int
    heads: int
    vocabulary: int
    positions: int
    epsilon: float = 1e-12
    activation: str = "gelu"
    types: int = 0
    first_position: int = 0
    pre_norm: bool = False
    causal: bool = False
    pooler: str = ""
    embedding: int = 0
    sentence: str = ""
    normalize: bool = False


class Embedding(nnx.Module):
    """A table of vectors."""

    def __init__(self, rows: int, features: int):
        """Makes a table [rows, D] of zeros."""
        self.embedding = nnx.Param(jnp.zeros((rows, features)))

    def __call__(self, places: jax.Array) -> jax.Array:
        """Maps [...] to [..., D]."""
        return jnp.take(self.embedding[...], places, axis=0, mode="clip")


class Block(nnx.Module):
    """Attention and dense layers, each with a norm before it or after the sum."""

    def __init__(self, shape: Shape):
        """Makes the branches."""
        width = shape.width
        self.pre_norm = shape.pre_norm
        self.norm1 = LayerNorm(width, epsilon=shape.epsilon)
        self.attention = Attention(width, heads=shape.heads)
        self.norm2 = LayerNorm(width, epsilon=shape.epsilon)
        self.mlp = Mlp(width, 4 * width, activation=_ACTIVATIONS[shape.activation])

    def __call__(self, x: jax.Array, bias: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]; `bias` as of `Attention`."""
        if self.pre_norm:
            x = x + self.attention(self.norm1(x), bias)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x, bias))
        return self.norm2(x + self.mlp(x))


class TextTransformer(nnx.Module):
    """The network, on token ids."""

    def __init__(self, shape: Shape):
        """Makes the network."""
        width = shape.width
        self.shape = shape
        self.words = Embedding(shape.vocabulary, width)
        rows = shape.first_position + shape.positions
        self.positions = Embedding(rows, width)
        self.types = Embedding(shape.types, width) if shape.types else None
        self.blocks = nnx.List([Block(shape) for _ in range(shape.depth)])
        # Of the embeddings, or where norms begin the branches, of the last layer.
        self.norm = LayerNorm(width, epsilon=shape.epsilon)
        self.pooler = Dense(width, width) if shape.pooler == "tanh" else None
        self.projection = (
            Dense(width, shape.embedding, bias=False) if shape.embedding else None
        )

    def __call__(self, ids: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of int32 [B, T], -1 behind a text's end, in order."""
        shape, mask = self.shape, ids >= 0
        x = self._embed(ids)
        bias = _hide(mask, causal=shape.causal, dtype=jnp.float32)
        outputs = {"layer0": x}
        for i, block in enumerate(self.blocks, start=1):
            x = block(x, bias)
            if i == shape.depth and shape.pre_norm:
                x = self.norm(x)
            outputs[f"layer{i}"] = x
        if self.pooler is not None:
            outputs["pooler"] = jnp.tanh(self.pooler(x[:, 0]))
        if shape.pooler == "end":
            ends = jnp.argmax(ids, axis=1)[:, None, None]
            outputs["pooler"] = jnp.take_along_axis(x, ends, axis=1)[:, 0]
        if self.projection is not None:
            outputs["embedding"] = self.projection(outputs["pooler"])
        if shape.sentence:
            wide = pool_tokens(x.astype(jnp.float32), mask, shape.sentence)
            outputs["sentence"] = _normalize(wide) if shape.normalize else wide
        return outputs

    def _embed(self, ids: jax.Array) -> jax.Array:
        first = self.shape.first_position
        places = jnp.arange(first, first + ids.shape[1])
        x = self.words(jnp.maximum(ids, 0)) + self.positions(places)[None]
        if self.types is not None:
            x = x + self.types.embedding[0].reshape(1, 1, -1)
        return x if self.shape.pre_norm else self.norm(x)


def _hide(mask: jax.Array, *, causal: bool, dtype) -> jax.Array:
    """Returns what is added to the scores: [B, 1, 1, T], or [B, 1, T, T] if causal."""
    seen = mask[:, None, None, :]
    if causal:
        order = jnp.arange(mask.shape[1])
        seen = seen & (order[None, :] <= order[:, None])[None, None]
    return jnp.where(seen, 0.0, HIDDEN).astype(dtype)


def _normalize(x: jax.Array) -> jax.Array:
    length = jnp.sqrt(jnp.sum(x * x, axis=-1, keepdims=True))
    return x / jnp.maximum(length, 1e-12)  # PyTorch's `normalize`
