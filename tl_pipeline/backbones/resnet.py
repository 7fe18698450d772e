"""ResNet, as torchvision and timm have it: the stride is in the 3×3 convolution.

Outputs: `stem` (before its pooling), `stage1` to `stage4`, `pool` (the mean over
pixels), and `logits` with a classifier.

The body of torchvision's detectors (Faster R-CNN, Mask R-CNN, RetinaNet) is one, and is
loaded from their files; the pyramid, the proposals and the heads are left out. Its
first detectors were trained with an epsilon of 0, which their files do not say: it is
known by the file's name or digest, and can be asked for, `epsilon = 0.0`. A body whose
modules have numbers, as they have in a `Sequential`, is RadImageNet's way.

Reference:
  He et al. 2015, https://arxiv.org/abs/1512.03385
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
from flax import nnx

from tl_pipeline.backbones.architecture import (
    UNUSED,
    Architecture,
    Rule,
    check_channels,
    check_epsilon,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import center_crop, gray_crop
from tl_pipeline.backbones.layers import ConvNorm, Linear, relu
from tl_pipeline.backbones.layouts import TORCH, torch_conv_norm, torch_layer
from tl_pipeline.backbones.pooling import global_average_pool, max_pool
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

MIN_INPUT = 32  # five halvings
DETECTOR = "torchvision-detector"
SEQUENTIAL = "torch-sequential"
_EPSILON = 1e-5
_STEM = 64
_FILTERS = (64, 128, 256, 512)  # of stage1 to stage4


class Variant(NamedTuple):
    """A depth.

    Attributes:
      blocks: Residual blocks in each stage.
      expansion: 4 with a bottleneck: 1×1, 3×3, and a 1×1 to so many times the filters.
        1 without: two 3×3.
    """

    blocks: tuple[int, int, int, int]
    expansion: int


VARIANTS = {
    "resnet18": Variant((2, 2, 2, 2), 1),
    "resnet34": Variant((3, 4, 6, 3), 1),
    "resnet50": Variant((3, 4, 6, 3), 4),
    "resnet101": Variant((3, 4, 23, 3), 4),
    "resnet152": Variant((3, 8, 36, 3), 4),
}


class Block(nnx.Module):
    """Two or three convolutions beside a shortcut, which is convolved if it must."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        stride: int,
        expansion: int,
        epsilon: float,
    ):
        """Makes a block whose first 3×3 convolution has the stride."""
        out_channels = filters * expansion

        def conv(channels: int, out: int, size: int, stride: int = 1) -> ConvNorm:
            return ConvNorm(
                channels,
                out,
                size=size,
                stride=stride,
                padding=size // 2,
                epsilon=epsilon,
            )

        self.convs = nnx.List(
            [conv(in_channels, filters, 3, stride), conv(filters, out_channels, 3)]
            if expansion == 1
            else [
                conv(in_channels, filters, 1),
                conv(filters, filters, 3, stride),
                conv(filters, out_channels, 1),
            ]
        )
        self.shortcut = (
            conv(in_channels, out_channels, 1, stride)
            if stride > 1 or in_channels != out_channels
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        for conv in self.convs[:-1]:
            x = relu(conv(x))
        return relu(self.convs[-1](x) + shortcut)


class ResNet(nnx.Module):
    """The network, on images of any size from 32×32."""

    def __init__(
        self,
        variant: Variant,
        classes: int | None,
        *,
        in_channels: int = 3,
        epsilon: float = _EPSILON,
    ):
        """Makes a network of this depth, with a classifier if `classes` says so."""
        self.stem = ConvNorm(
            in_channels, _STEM, size=7, stride=2, padding=3, epsilon=epsilon
        )
        channels, stages = _STEM, []
        for stage, (filters, n_blocks) in enumerate(
            zip(_FILTERS, variant.blocks, strict=True)
        ):
            blocks = []
            for i in range(n_blocks):
                stride = 2 if stage and not i else 1
                block = Block(
                    channels,
                    filters,
                    stride=stride,
                    expansion=variant.expansion,
                    epsilon=epsilon,
                )
                blocks.append(block)
                channels = filters * variant.expansion
            stages.append(nnx.List(blocks))
        self.stages = nnx.List(stages)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, C] by name, in order."""
        outputs = {"stem": relu(self.stem(x))}
        x = max_pool(outputs["stem"], size=3, stride=2, padding=1)
        for i, blocks in enumerate(self.stages, start=1):
            for block in blocks:
                x = block(x)
            outputs[f"stage{i}"] = x
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a ResNet.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side; `channels`, 3 or 1; `epsilon`, of every
        BatchNorm.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    later = {"channels": 3, "epsilon": _EPSILON}
    filled = fill_settings(name, settings, {"input_size": 224}, later=later)
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    said = {**later, **filled}
    channels = check_channels(name, said["channels"])
    epsilon = check_epsilon(name, said["epsilon"])
    variant = VARIANTS[name]
    return Architecture(
        name=name,
        settings=filled,
        preprocess=gray_crop(size) if channels == 1 else center_crop(size),
        classes=CLASSES,
        make_network=lambda classes: ResNet(
            variant, classes, in_channels=channels, epsilon=epsilon
        ),
        key_rules={
            TORCH: tuple(_torch_rules(variant)),
            DETECTOR: tuple(_detector_rules(variant)),
            SEQUENTIAL: tuple(_sequential_rules(variant)),
        },
        first_kernel="stem.conv.kernel",
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _detector_rules(variant: Variant) -> Iterator[Rule]:
    for source, target, transform in _body_rules(variant):
        yield f"backbone.body.{source}", target, transform
    for part in ("backbone.fpn", "rpn", "roi_heads", "head"):
        yield f"{part}.*", UNUSED, "same"


def _sequential_rules(variant: Variant) -> Iterator[Rule]:
    places = {"conv1": 0, "bn1": 1, **{f"layer{i}": i + 3 for i in (1, 2, 3, 4)}}
    for source, target, transform in _body_rules(variant):
        module, _, leaf = str(source).partition(".")
        yield f"{places[module]}.{leaf}", target, transform


def _torch_rules(variant: Variant) -> Iterator[Rule]:
    yield from _body_rules(variant)
    yield from torch_layer("fc", "classifier")


def _body_rules(variant: Variant) -> Iterator[Rule]:
    yield from torch_conv_norm("conv1", "bn1", "stem")
    for stage, n_blocks in enumerate(variant.blocks):
        for i in range(n_blocks):
            theirs, ours = f"layer{stage + 1}.{i}", f"stages.{stage}.{i}"
            for n in range(2 if variant.expansion == 1 else 3):
                yield from torch_conv_norm(
                    f"{theirs}.conv{n + 1}", f"{theirs}.bn{n + 1}", f"{ours}.convs.{n}"
                )
            if not i and (stage or variant.expansion > 1):
                yield from torch_conv_norm(
                    f"{theirs}.downsample.0",
                    f"{theirs}.downsample.1",
                    f"{ours}.shortcut",
                )
