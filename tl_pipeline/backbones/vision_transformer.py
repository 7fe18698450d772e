"""The network of all plain vision transformers: ViT, DeiT, DINOv2 and CLIP's tower.

Outputs, of T patches and D features:

* `embed`: what the first block takes, class token, registers, then patches;
* `block0` and so on: the same tokens after each block, before the last norm, as
  timm's `forward_intermediates` gives them;
* `patches` [T, D]: the patches' tokens after the last norm, row by row, DINOv2's
  `x_norm_patchtokens`;
* `cls` [D]: the class token after the last norm, DINOv2's `x_norm_clstoken`;
* `pool` [D]: what a classifier takes. It is `cls`; of distilled ones, the mean of
  `cls` and the distillation token;
* `embedding`: CLIP's projection of `pool`, before it is scaled to length 1;
* `logits`, with a classifier.

References:
  Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929
  Darcet et al. 2023 (registers), https://arxiv.org/abs/2309.16588
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.attention import (
    Attention,
    Dense,
    LayerNorm,
    LayerScale,
    Mlp,
    PatchEmbed,
    gelu,
    quick_gelu,
)
from tl_pipeline.backbones.layers import Linear
from tl_pipeline.backbones.positions import interpolate_positions
from tl_pipeline.errors import BackboneError


class Shape(NamedTuple):
    """What tells one vision transformer from another.

    Attributes:
      width: D.
      depth: Blocks.
      heads: Of each block.
      patch: Pixels a side.
      grid: Patches a side, of which the positions were learned.
      epsilon: Of every LayerNorm.
      registers: Tokens between the class token and the patches, without positions.
      distilled: Whether a second class token was taught by another network.
      layer_scale: Whether each branch ends in one.
      pre_norm: Whether a norm stands before the first block; the patches' projection
        then has no bias.
      quick_gelu: Whether the activation is CLIP's.
      embedding: Features of the last projection; 0 for none.
      antialias: See `interpolate_positions`.
      offset: See `interpolate_positions`.
    """

    width: int
    depth: int
    heads: int
    patch: int
    grid: int
    epsilon: float = 1e-6
    registers: int = 0
    distilled: bool = False
    layer_scale: bool = False
    pre_norm: bool = False
    quick_gelu: bool = False
    embedding: int = 0
    antialias: bool = True
    offset: float = 0.0


class Block(nnx.Module):
    """Attention and dense layers, each a branch that begins with a norm."""

    def __init__(self, shape: Shape):
        """Makes the branches."""
        width = shape.width
        self.norm1 = LayerNorm(width, epsilon=shape.epsilon)
        self.attention = Attention(width, heads=shape.heads)
        self.scale1 = LayerScale(width) if shape.layer_scale else None
        self.norm2 = LayerNorm(width, epsilon=shape.epsilon)
        self.mlp = Mlp(
            width, 4 * width, activation=quick_gelu if shape.quick_gelu else gelu
        )
        self.scale2 = LayerScale(width) if shape.layer_scale else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, D] to [B, T, D]."""
        branch = self.attention(self.norm1(x))
        x = x + (branch if self.scale1 is None else self.scale1(branch))
        branch = self.mlp(self.norm2(x))
        return x + (branch if self.scale2 is None else self.scale2(branch))


class Classifier(Linear):
    """Classes by the class token."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens [B, T, D] to [B, K]."""
        return super().__call__(x[:, 0])


class DistilledClassifier(Linear):
    """The mean of what two class tokens say, each by a layer of its own."""

    def __init__(self, in_features: int, out_features: int):
        """Makes both layers."""
        super().__init__(in_features, out_features)
        self.distilled = Linear(in_features, out_features)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps tokens [B, T, D] to [B, K]."""
        return (super().__call__(x[:, 0]) + self.distilled(x[:, 1])) / 2


class VisionTransformer(nnx.Module):
    """The network, on color images of at least one patch."""

    def __init__(self, shape: Shape, classes: int | None):
        """Makes the network, with a classifier if `classes` says so."""
        width = shape.width
        self.shape = shape
        self.class_tokens = 2 if shape.distilled else 1
        self.patch_embed = PatchEmbed(width, patch=shape.patch, bias=not shape.pre_norm)
        self.cls_token = nnx.Param(jnp.zeros((1, width)))
        self.dist_token = nnx.Param(jnp.zeros((1, width))) if shape.distilled else None
        self.registers = (
            nnx.Param(jnp.zeros((shape.registers, width))) if shape.registers else None
        )
        self.positions = nnx.Param(
            jnp.zeros((self.class_tokens + shape.grid**2, width))
        )
        self.pre_norm = (
            LayerNorm(width, epsilon=shape.epsilon) if shape.pre_norm else None
        )
        self.blocks = nnx.List([Block(shape) for _ in range(shape.depth)])
        self.norm = LayerNorm(width, epsilon=shape.epsilon)
        self.projection = (
            Dense(width, shape.embedding, bias=False) if shape.embedding else None
        )
        make_classifier = DistilledClassifier if shape.distilled else Classifier
        self.classifier = None if classes is None else make_classifier(width, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        x = self._embed(x)
        outputs = {"embed": x}
        for i, block in enumerate(self.blocks):
            x = outputs[f"block{i}"] = block(x)
        x = self.norm(x)
        outputs["patches"] = x[:, self.class_tokens + self.shape.registers :]
        outputs["cls"] = pool = x[:, 0]
        if self.shape.distilled:
            pool = (x[:, 0] + x[:, 1]) / 2
        outputs["pool"] = pool
        if self.projection is not None:
            outputs["embedding"] = self.projection(pool)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(x)
        return outputs

    def _embed(self, x: jax.Array) -> jax.Array:
        patches = self.patch_embed(x)
        n, *size, width = patches.shape
        first = self.class_tokens
        positions = self.positions[...]
        grid = interpolate_positions(
            positions[first:],
            (size[0], size[1]),
            antialias=self.shape.antialias,
            offset=self.shape.offset,
        )
        tokens = [self.cls_token[...]]
        if self.dist_token is not None:
            tokens.append(self.dist_token[...])
        tokens = [jnp.concatenate(tokens) + positions[:first]]
        if self.registers is not None:
            tokens.append(self.registers[...])
        before = jnp.concatenate(tokens)[None]
        before = jnp.broadcast_to(before, (n, *before.shape[1:]))
        x = patches.reshape(n, -1, width) + grid[None]
        x = jnp.concatenate([before, x], axis=1)
        return x if self.pre_norm is None else self.pre_norm(x)


def check_input_size(name: str, size: object, patch: int) -> int:
    """Returns an input size that a grid of patches fills.

    Raises:
      BackboneError: It is none.
    """
    if not (isinstance(size, int) and patch <= size <= 2048 and size % patch == 0):
        raise BackboneError(
            f"Asked for {name} with input_size = {size}; it takes multiples of its "
            f"patch, {patch}, up to 2048."
        )
    return size
