"""The blocks of all audio backbones: Whisper's encoder, wav2vec 2.0 and AST.

Their outputs are named alike: `layer0` is what the first block takes, and `layer1` and
so on are the frames after each block. Where norms stand at the beginning of the
branches (Whisper, AST), the last one is after the last norm. So they are the
`hidden_states` of transformers, but that AST's last is its `last_hidden_state`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.attention import HIDDEN, Attention, LayerNorm, Mlp


class Shape(NamedTuple):
    """What tells one audio transformer from another of its family.

    Attributes:
      width: D.
      depth: Blocks.
      heads: Of each block.
      length: T of the longest window: frames, or samples of a waveform.
      bins: Mel bins; 0 of a waveform.
      epsilon: Of every LayerNorm.
      pre_norm: Whether norms stand at the beginning of the branches, and one at the
        end of all, or each after the sum of a branch.
      key_bias: Whether keys have a bias.
    """

    width: int
    depth: int
    heads: int
    length: int
    bins: int = 0
    epsilon: float = 1e-5
    pre_norm: bool = True
    key_bias: bool = True


class Block(nnx.Module):
    """Attention and dense layers, each with a norm before it or after the sum."""

    def __init__(self, shape: Shape):
        """Makes the branches."""
        width = shape.width
        self.pre_norm = shape.pre_norm
        self.norm1 = LayerNorm(width, epsilon=shape.epsilon)
        self.attention = Attention(width, heads=shape.heads, key_bias=shape.key_bias)
        self.norm2 = LayerNorm(width, epsilon=shape.epsilon)
        self.mlp = Mlp(width, 4 * width)

    def __call__(self, x: jax.Array, bias: jax.Array | None) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]; `bias` as of `Attention`."""
        if self.pre_norm:
            x = x + self.attention(self.norm1(x), bias)
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attention(x, bias))
        return self.norm2(x + self.mlp(x))


class Blocks(nnx.Module):
    """All blocks, and the norm at their end where norms begin the branches."""

    def __init__(self, shape: Shape):
        """Makes them."""
        self.blocks = nnx.List([Block(shape) for _ in range(shape.depth)])
        self.norm = (
            LayerNorm(shape.width, epsilon=shape.epsilon) if shape.pre_norm else None
        )

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns `layer0` and so on, of [B, T, D].

        Args:
          x: What the first block takes.
          mask: [B, T] bool, the frames that are looked at; None: all.
        """
        bias = None
        if mask is not None:
            bias = jnp.where(mask[:, None, None, :], 0.0, HIDDEN)
        outputs = {"layer0": x}
        for i, block in enumerate(self.blocks, start=1):
            x = block(x, bias)
            if i == len(self.blocks) and self.norm is not None:
                x = self.norm(x)
            outputs[f"layer{i}"] = x
        return outputs
