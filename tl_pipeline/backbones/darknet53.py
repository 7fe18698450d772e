"""Darknet-53, the trunk of YOLOv3, as Darknet itself has it and as timm does.

Outputs: `stem`, `stage1` to `stage5`, `pool` (the mean over pixels), and `logits` with
a classifier. In YOLOv3's words `stage3` to `stage5` are what its detector sees.

Darknet's leaky ReLU has a slope of 0.1 below zero, and timm's weights were trained
with PyTorch's 0.01; Darknet divides by sqrt(variance) + 1e-6, and PyTorch by
sqrt(variance + 1e-5). The settings `leak` and `epsilon` are the library's whose layout
a file has; from Darknet's own, epsilon is in the variance already.

Reference:
  Redmon and Farhadi 2018, https://arxiv.org/abs/1804.02767
"""

import functools
from collections.abc import Iterator, Mapping

import jax
from flax import nnx

from tl_pipeline.backbones.architecture import (
    UNUSED,
    Architecture,
    Rule,
    check_epsilon,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import center_crop
from tl_pipeline.backbones.layers import ConvNorm, Linear
from tl_pipeline.backbones.layouts import TIMM, torch_conv_norm, torch_layer
from tl_pipeline.backbones.pooling import global_average_pool
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError

MIN_INPUT = 32  # five halvings
DARKNET = "darknet"
_STEM = 32
_STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # filters, blocks
_AS_THEY_ARE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class LeakyConv(ConvNorm):
    """A convolution, its BatchNorm and a leaky ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        size: int,
        stride: int = 1,
        leak: float,
        epsilon: float,
    ):
        """Makes the three; `leak` is the slope below zero."""
        super().__init__(
            in_channels,
            out_channels,
            size=size,
            stride=stride,
            padding=size // 2,
            epsilon=epsilon,
        )
        self.leak = leak

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        return jax.nn.leaky_relu(super().__call__(x), self.leak)


class Block(nnx.Module):
    """A 1×1 convolution to half the channels and a 3×3 back, beside a shortcut."""

    def __init__(self, channels: int, *, leak: float, epsilon: float):
        """Makes a block; its sum has no activation."""
        half = channels // 2
        self.conv1 = LeakyConv(channels, half, size=1, leak=leak, epsilon=epsilon)
        self.conv2 = LeakyConv(half, channels, size=3, leak=leak, epsilon=epsilon)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, C]."""
        return x + self.conv2(self.conv1(x))


class Darknet53(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, classes: int | None, *, leak: float, epsilon: float):
        """Makes a network, with a classifier if `classes` says so."""
        conv = functools.partial(LeakyConv, size=3, leak=leak, epsilon=epsilon)
        self.stem = conv(3, _STEM)
        channels, downs, stages = _STEM, [], []
        for filters, n_blocks in _STAGES:
            downs.append(conv(channels, filters, stride=2))
            blocks = [
                Block(filters, leak=leak, epsilon=epsilon) for _ in range(n_blocks)
            ]
            stages.append(nnx.List(blocks))
            channels = filters
        self.downs, self.stages = nnx.List(downs), nnx.List(stages)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        x = self.stem(x)
        outputs = {"stem": x}
        pairs = zip(self.downs, self.stages, strict=True)
        for i, (down, blocks) in enumerate(pairs, start=1):
            x = down(x)
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
    """Returns Darknet-53.

    Args:
      name: `darknet53`.
      settings: `input_size`, pixels a side; `leak`, the slope below zero; `epsilon`,
        of every BatchNorm.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    defaults = {"input_size": 256, "leak": 0.1, "epsilon": 1e-5}
    filled = fill_settings(name, settings, defaults)
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    epsilon, leak = check_epsilon(name, filled["epsilon"]), filled["leak"]
    if not (isinstance(leak, float) and 0 <= leak < 1):
        raise BackboneError(
            f"Asked for {name} with leak = {leak}; it takes 0 to below 1, as in "
            "leak = 0.1."
        )
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size, share=0.887, interpolation="bicubic"),
        preprocesses={DARKNET: center_crop(size, share=1, colors=_AS_THEY_ARE)},
        classes=CLASSES,
        make_network=lambda classes: Darknet53(classes, leak=leak, epsilon=epsilon),
        key_rules={TIMM: tuple(_timm_rules()), DARKNET: tuple(_darknet_rules())},
        layout_settings={TIMM: {"leak": 0.01}, DARKNET: {"epsilon": 0.0}},
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _convs() -> Iterator[tuple[str, str]]:
    """Yields timm's name of each convolution, and ours, in Darknet's order."""
    yield "stem.conv1", "stem"
    for stage, (_, n_blocks) in enumerate(_STAGES):
        yield f"stages.{stage}.conv_down", f"downs.{stage}"
        for block in range(n_blocks):
            for conv in ("conv1", "conv2"):
                theirs = f"stages.{stage}.blocks.{block}.{conv}"
                yield theirs, f"stages.{stage}.{block}.{conv}"


def _timm_rules() -> Iterator[Rule]:
    for theirs, ours in _convs():
        yield from torch_conv_norm(f"{theirs}.conv", f"{theirs}.bn", ours)
    yield from torch_layer("head.fc", "classifier")


def _darknet_rules() -> Iterator[Rule]:
    for i, (_, ours) in enumerate(_convs()):
        yield f"conv{i}.beta", f"{ours}.norm.bias", "same"
        yield f"conv{i}.gamma", f"{ours}.norm.scale", "same"
        yield f"conv{i}.mean", f"{ours}.norm.mean", "same"
        yield f"conv{i}.var", f"{ours}.norm.var", "darknet-variance"
        yield f"conv{i}.kernel", f"{ours}.conv.kernel", "torch"
    yield "classifier.bias", "classifier.bias", "same"
    yield "classifier.kernel", "classifier.kernel", "torch-pixel"
    yield "detector", UNUSED, "same"
