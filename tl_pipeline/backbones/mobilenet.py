"""MobileNet, the first one, as `keras.applications` has it.

Outputs: `stem`, `block1` to `block13`, `pool` (the mean over pixels), and `logits` with
a classifier.

Reference:
  Howard et al. 2017, https://arxiv.org/abs/1704.04861
"""

from collections.abc import Iterator, Mapping

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
from tl_pipeline.backbones.layers import ConvNorm, Linear, relu6
from tl_pipeline.backbones.layouts import KERAS, keras_conv_norm, keras_layer
from tl_pipeline.backbones.pooling import global_average_pool
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError

NAME = "mobilenet"
MIN_INPUT = 32  # five halvings
WIDTHS = (0.25, 0.5, 0.75, 1.0)  # those published by keras.applications

# (filters before width, stride) of block1 to block13; table 1 of the paper.
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)
_EPSILON = 1e-3


class SeparableBlock(nnx.Module):
    """Filter each channel, then mix them; a ReLU, clipped at 6, after both."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int):
        """Makes the block."""
        self.stride = stride
        self.depthwise = ConvNorm(
            in_channels,
            in_channels,
            size=3,
            stride=stride,
            groups=in_channels,
            padding="SAME" if stride == 1 else 0,
            epsilon=_EPSILON,
        )
        self.pointwise = ConvNorm(in_channels, out_channels, size=1, epsilon=_EPSILON)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        if self.stride > 1:
            # Always at the end: "SAME" would pad an odd image at both.
            x = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
        return relu6(self.pointwise(relu6(self.depthwise(x))))


class MobileNet(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, width: float, classes: int | None):
        """Makes a network of this width, with a classifier if `classes` says so."""
        channels = int(32 * width)
        self.stem = ConvNorm(3, channels, size=3, stride=2, epsilon=_EPSILON)
        blocks = []
        for filters, stride in _BLOCKS:
            out_channels = int(filters * width)
            blocks.append(SeparableBlock(channels, out_channels, stride=stride))
            channels = out_channels
        self.blocks = nnx.List(blocks)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        outputs = {"stem": relu6(self.stem(x))}
        x = outputs["stem"]
        for i, block in enumerate(self.blocks, start=1):
            x = outputs[f"block{i}"] = block(x)
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def make_architecture(
    name: str = NAME, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns MobileNet of a width and an input size.

    Args:
      name: `NAME`.
      settings: `width`, 0.25 to 1.0 (published: `WIDTHS`); `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    filled = fill_settings(name, settings, {"width": 1.0, "input_size": 224})
    width = filled["width"]
    if not (isinstance(width, float) and WIDTHS[0] <= width <= WIDTHS[-1]):
        raise BackboneError(
            f"Asked for {name} with width = {width}; it takes {WIDTHS[0]} to "
            f"{WIDTHS[-1]}; weights are published for {', '.join(map(str, WIDTHS))}."
        )
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    return Architecture(
        name=name,
        settings=filled,
        preprocess=keras_crop("tf", size),
        classes=CLASSES,
        make_network=lambda classes: MobileNet(width, classes),
        key_rules={KERAS: tuple(_keras_rules())},
        checkpoints=list_checkpoints(name, width=width),
        how_to_get=say_how_to_get(name, width=width),
    )


def _keras_rules() -> Iterator[Rule]:
    yield from keras_conv_norm("conv1", "conv1_bn", "stem")
    for i in range(len(_BLOCKS)):
        depthwise, pointwise = f"conv_dw_{i + 1}", f"conv_pw_{i + 1}"
        yield from keras_conv_norm(
            depthwise, f"{depthwise}_bn", f"blocks.{i}.depthwise", "depthwise"
        )
        yield from keras_conv_norm(
            pointwise, f"{pointwise}_bn", f"blocks.{i}.pointwise"
        )
    yield from keras_layer("conv_preds", "classifier", "pixel")
