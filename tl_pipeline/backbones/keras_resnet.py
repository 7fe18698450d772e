"""ResNet and ResNet v2, as `keras.applications` has them.

They are not torchvision's: convolutions have biases, the stride is in the first 1×1
convolution of a stage (v1) or in the 3×3 of its last block (v2), and v2 normalizes
before it convolves.

Outputs: `stem` (before its pooling), `stage1` to `stage4`, `pool` (the mean over
pixels), and `logits` with a classifier.

Reference:
  He et al. 2015, https://arxiv.org/abs/1512.03385
  He et al. 2016, https://arxiv.org/abs/1603.05027
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import (
    Architecture,
    Rule,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import keras_crop
from tl_pipeline.backbones.layers import Conv, ConvNorm, Linear, make_norm, relu
from tl_pipeline.backbones.layouts import (
    KERAS,
    keras_conv_norm,
    keras_layer,
    keras_norm,
)
from tl_pipeline.backbones.pooling import global_average_pool, max_pool
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

MIN_INPUT = 32  # five halvings
_EPSILON = 1.001e-5
_STEM = 64
_FILTERS = (64, 128, 256, 512)  # of stage1 to stage4
_EXPANSION = 4


class Variant(NamedTuple):
    """A depth, of one version.

    Attributes:
      blocks: Residual blocks in each stage.
      version: 1, or 2 with normalization before convolution.
    """

    blocks: tuple[int, int, int, int]
    version: int


VARIANTS = {
    "keras_resnet50": Variant((3, 4, 6, 3), 1),
    "keras_resnet101": Variant((3, 4, 23, 3), 1),
    "keras_resnet152": Variant((3, 8, 36, 3), 1),
    "keras_resnet50_v2": Variant((3, 4, 6, 3), 2),
    "keras_resnet101_v2": Variant((3, 4, 23, 3), 2),
    "keras_resnet152_v2": Variant((3, 8, 36, 3), 2),
}


class Block(nnx.Module):
    """The bottleneck of version 1: 1×1 with the stride, 3×3, 1×1."""

    def __init__(self, in_channels: int, filters: int, *, stride: int, widens: bool):
        """Makes a block; one that widens convolves its shortcut."""
        out_channels = filters * _EXPANSION

        def conv(channels: int, out: int, size: int, stride: int = 1) -> ConvNorm:
            return ConvNorm(
                channels, out, size=size, stride=stride, bias=True, epsilon=_EPSILON
            )

        self.conv1 = conv(in_channels, filters, 1, stride)
        self.conv2 = conv(filters, filters, 3)
        self.conv3 = conv(filters, out_channels, 1)
        self.shortcut = conv(in_channels, out_channels, 1, stride) if widens else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        x = relu(self.conv1(x))
        x = relu(self.conv2(x))
        return relu(self.conv3(x) + shortcut)


class PreactivationBlock(nnx.Module):
    """The bottleneck of version 2: 1×1, 3×3 with the stride, 1×1 without BatchNorm."""

    def __init__(self, in_channels: int, filters: int, *, stride: int, widens: bool):
        """Makes a block; one that widens convolves its shortcut."""
        self.stride = stride
        self.norm = make_norm(in_channels, epsilon=_EPSILON)
        self.conv1 = ConvNorm(in_channels, filters, size=1, epsilon=_EPSILON)
        self.conv2 = ConvNorm(
            filters, filters, size=3, stride=stride, padding=1, epsilon=_EPSILON
        )
        out_channels = filters * _EXPANSION
        self.conv3 = Conv(filters, out_channels, size=1, bias=True)
        self.shortcut = (
            Conv(in_channels, out_channels, size=1, stride=stride, bias=True)
            if widens
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        hidden = relu(self.norm(x))
        shortcut = (
            x[:, :: self.stride, :: self.stride]
            if self.shortcut is None
            else self.shortcut(hidden)
        )
        hidden = relu(self.conv1(hidden))
        hidden = relu(self.conv2(hidden))
        return self.conv3(hidden) + shortcut


class KerasResNet(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, variant: Variant, classes: int | None):
        """Makes a network of this depth, with a classifier if `classes` says so."""
        first = variant.version == 1
        options = {"size": 7, "stride": 2, "padding": 3, "bias": True}
        self.stem = (
            ConvNorm(3, _STEM, **options, epsilon=_EPSILON)
            if first
            else Conv(3, _STEM, **options)
        )
        kind = Block if first else PreactivationBlock
        channels, stages = _STEM, []
        for stage, (filters, n_blocks) in enumerate(
            zip(_FILTERS, variant.blocks, strict=True)
        ):
            blocks = []
            for i in range(n_blocks):
                strided = (
                    (stage and not i) if first else (stage < 3 and i + 1 == n_blocks)
                )
                stride = 2 if strided else 1
                blocks.append(kind(channels, filters, stride=stride, widens=not i))
                channels = filters * _EXPANSION
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.norm = None if first else make_norm(channels, epsilon=_EPSILON)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        x = self.stem(x)
        outputs = {"stem": relu(x) if self.norm is None else x}
        # Padded by zeros, not left out: version 2 has negative values here.
        x = jnp.pad(outputs["stem"], ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = max_pool(x, size=3, stride=2)
        for i, blocks in enumerate(self.stages, start=1):
            for block in blocks:
                x = block(x)
            outputs[f"stage{i}"] = x
        if self.norm is not None:
            x = relu(self.norm(x))
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns Keras' ResNet.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    filled = fill_settings(name, settings, {"input_size": 224})
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    variant = VARIANTS[name]
    return Architecture(
        name=name,
        settings=filled,
        preprocess=keras_crop("caffe" if variant.version == 1 else "tf", size),
        classes=CLASSES,
        make_network=lambda classes: KerasResNet(variant, classes),
        key_rules={KERAS: tuple(_keras_rules(variant))},
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _keras_rules(variant: Variant) -> Iterator[Rule]:
    first = variant.version == 1
    if first:
        yield from keras_conv_norm("conv1_conv", "conv1_bn", "stem", bias=True)
    else:
        yield from keras_layer("conv1_conv", "stem")
        yield from keras_norm("post_bn", "norm")
    for stage, n_blocks in enumerate(variant.blocks):
        for i in range(n_blocks):
            theirs, ours = f"conv{stage + 2}_block{i + 1}", f"stages.{stage}.{i}"
            for n in (1, 2, 3) if first else (1, 2):
                yield from keras_conv_norm(
                    f"{theirs}_{n}_conv",
                    f"{theirs}_{n}_bn",
                    f"{ours}.conv{n}",
                    bias=first,
                )
            if first and not i:
                yield from keras_conv_norm(
                    f"{theirs}_0_conv", f"{theirs}_0_bn", f"{ours}.shortcut", bias=True
                )
            if not first:
                yield from keras_norm(f"{theirs}_preact_bn", f"{ours}.norm")
                yield from keras_layer(f"{theirs}_3_conv", f"{ours}.conv3")
                if not i:
                    yield from keras_layer(f"{theirs}_0_conv", f"{ours}.shortcut")
    for layer in ("predictions", "probs"):  # the latter in files of Keras 2.2
        yield from keras_layer(layer, "classifier")
