"""BiT: ResNet v2 with GroupNorm and standardized kernels, Google's transfer backbone.

Outputs: `stem` (before its pooling), `stage1` to `stage4`, `pool` (the mean over
pixels of the last, normed), and `logits` with a classifier, of 21,843 classes in the
files that were trained on all of ImageNet.

Google adds 1e-10 to the variance of a kernel and timm 1e-8: the setting `epsilon` is
the library's whose layout a file has.

Reference:
  Kolesnikov et al. 2019, https://arxiv.org/abs/1912.11370
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import (
    Architecture,
    Rule,
    check_epsilon,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import HALVES, center_crop, whole_image
from tl_pipeline.backbones.layers import Linear, relu
from tl_pipeline.backbones.layouts import TIMM, torch_layer
from tl_pipeline.backbones.pooling import global_average_pool, max_pool
from tl_pipeline.backbones.published import list_checkpoints, say_how_to_get
from tl_pipeline.backbones.standardized import GroupNorm, StandardizedConv
from tl_pipeline.digest import Json

MIN_INPUT = 32  # five halvings
CLASSES = 21_843  # of ImageNet-21k
GOOGLE = "google-npz"
_GOOGLE_EPSILON, _TIMM_EPSILON = 1e-10, 1e-8
_STEM = 64
_FILTERS = (64, 128, 256, 512)  # of stage1 to stage4
_EXPANSION = 4


class Variant(NamedTuple):
    """A depth: residual blocks in each stage."""

    blocks: tuple[int, int, int, int]


VARIANTS = {
    "bit_r50x1": Variant((3, 4, 6, 3)),
    "bit_r101x1": Variant((3, 4, 23, 3)),
}


class Block(nnx.Module):
    """The bottleneck: 1×1, 3×3 with the stride, 1×1, each after norm and ReLU."""

    def __init__(self, in_channels: int, filters: int, *, stride: int, epsilon: float):
        """Makes a block; one that widens convolves its shortcut."""
        out_channels = filters * _EXPANSION

        def conv(channels: int, out: int, size: int = 1, stride: int = 1):
            return StandardizedConv(
                channels,
                out,
                size=size,
                stride=stride,
                padding=size // 2,
                epsilon=epsilon,
            )

        self.norms = nnx.List([GroupNorm(n) for n in (in_channels, filters, filters)])
        self.convs = nnx.List(
            [
                conv(in_channels, filters),
                conv(filters, filters, 3, stride),
                conv(filters, out_channels),
            ]
        )
        self.shortcut = (
            conv(in_channels, out_channels, 1, stride)
            if in_channels != out_channels
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        first = hidden = relu(self.norms[0](x))
        hidden = self.convs[0](hidden)
        for norm, conv in zip(self.norms[1:], self.convs[1:], strict=True):
            hidden = conv(relu(norm(hidden)))
        return hidden + (x if self.shortcut is None else self.shortcut(first))


class BiT(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, variant: Variant, classes: int | None, *, epsilon: float):
        """Makes a network of this depth, with a classifier if `classes` says so."""
        self.stem = StandardizedConv(
            3, _STEM, size=7, stride=2, padding=3, epsilon=epsilon
        )
        channels, stages = _STEM, []
        for stage, (filters, n_blocks) in enumerate(
            zip(_FILTERS, variant.blocks, strict=True)
        ):
            blocks = []
            for i in range(n_blocks):
                stride = 2 if stage and not i else 1
                block = Block(channels, filters, stride=stride, epsilon=epsilon)
                blocks.append(block)
                channels = filters * _EXPANSION
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.norm = GroupNorm(channels)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        outputs = {"stem": self.stem(x)}
        # Padded by zeros, not left out: there are negative values here.
        x = jnp.pad(outputs["stem"], ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = max_pool(x, size=3, stride=2)
        for i, blocks in enumerate(self.stages, start=1):
            for block in blocks:
                x = block(x)
            outputs[f"stage{i}"] = x
        x = relu(self.norm(x))
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a BiT.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side; `epsilon`, added to a kernel's variance.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    defaults = {"input_size": 224, "epsilon": _TIMM_EPSILON}
    filled = fill_settings(name, settings, defaults)
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    epsilon = check_epsilon(name, filled["epsilon"])
    variant = VARIANTS[name]
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size, colors=HALVES),
        preprocesses={GOOGLE: whole_image(size, colors=HALVES)},
        classes=CLASSES,
        make_network=lambda classes: BiT(variant, classes, epsilon=epsilon),
        key_rules={
            TIMM: tuple(_timm_rules(variant)),
            GOOGLE: tuple(_google_rules(variant)),
        },
        layout_settings={GOOGLE: {"epsilon": _GOOGLE_EPSILON}},
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _timm_rules(variant: Variant) -> Iterator[Rule]:
    yield from torch_layer("stem.conv", "stem", bias=False)
    for theirs, ours in _blocks(variant, "stages.{stage}.blocks.{block}"):
        for n in range(3):
            yield from _norm_rules(f"{theirs}.norm{n + 1}", f"{ours}.norms.{n}")
            yield from torch_layer(
                f"{theirs}.conv{n + 1}", f"{ours}.convs.{n}", bias=False
            )
        if ours.endswith(".0"):
            yield from torch_layer(
                f"{theirs}.downsample.conv", f"{ours}.shortcut", bias=False
            )
    yield from _norm_rules("norm", "norm")
    yield from torch_layer("head.fc", "classifier", "torch-pixel")


def _google_rules(variant: Variant) -> Iterator[Rule]:
    kernel = "standardized_conv2d/kernel"
    yield f"resnet/root_block/{kernel}", "stem.kernel", "same"
    for theirs, ours in _blocks(variant, "resnet/block{stage1}/unit{block1:02d}"):
        for n, part in enumerate("abc"):
            yield from _norm_rules(
                f"{theirs}/{part}/group_norm",
                f"{ours}.norms.{n}",
                leaves=("/gamma", "/beta"),
            )
            yield f"{theirs}/{part}/{kernel}", f"{ours}.convs.{n}.kernel", "same"
        if ours.endswith(".0"):
            yield f"{theirs}/a/proj/{kernel}", f"{ours}.shortcut.kernel", "same"
    yield from _norm_rules("resnet/group_norm", "norm", leaves=("/gamma", "/beta"))
    yield "resnet/head/conv2d/kernel", "classifier.kernel", "pixel"
    yield "resnet/head/conv2d/bias", "classifier.bias", "same"


def _blocks(variant: Variant, pattern: str) -> Iterator[tuple[str, str]]:
    """Yields the names of each block, theirs and ours."""
    for stage, n_blocks in enumerate(variant.blocks):
        for block in range(n_blocks):
            numbers = {"stage": stage, "block": block}
            counted = {"stage1": stage + 1, "block1": block + 1}
            yield pattern.format(**numbers, **counted), f"stages.{stage}.{block}"


def _norm_rules(
    source: str, target: str, *, leaves: tuple[str, str] = (".weight", ".bias")
) -> Iterator[Rule]:
    for theirs, ours in zip(leaves, ("scale", "bias"), strict=True):
        yield f"{source}{theirs}", f"{target}.{ours}", "same"
