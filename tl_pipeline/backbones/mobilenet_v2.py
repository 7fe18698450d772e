"""MobileNetV2, as `keras.applications` has it: its widths, epsilon and file layout.

Outputs: `stem`, `block0` to `block16` (the inverted residual blocks), `head_conv` (the
last 1×1 convolution), `pool` (its mean over pixels), and `logits` with a classifier.

Reference:
  Sandler et al. 2018, https://arxiv.org/abs/1801.04381
"""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import Architecture, Rule, fill_settings
from tl_pipeline.backbones.crops import keras_crop
from tl_pipeline.backbones.layers import ConvNorm, Linear, relu6
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError

NAME = "mobilenet_v2"
MIN_INPUT = 32  # five halvings
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # those published by keras.applications

# (filters before width, stride) of block0 to block16; table 2 of the paper.
_BLOCKS = (
    *((16, 1),),
    *((24, 2), (24, 1)),
    *((32, 2), (32, 1), (32, 1)),
    *((64, 2), (64, 1), (64, 1), (64, 1)),
    *((96, 1), (96, 1), (96, 1)),
    *((160, 2), (160, 1), (160, 1)),
    *((320, 1),),
)
_EXPANSION = 6  # of every block but the first
_EPSILON = 1e-3  # Keras' choice; others train with 1e-5


class InvertedResidual(nnx.Module):
    """Expand by a 1×1 convolution, filter each channel, project back without ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, expansion: int
    ):
        """Makes the block; without expansion it begins with the depthwise filter."""
        hidden = in_channels * expansion
        self.expand = (
            ConvNorm(in_channels, hidden, size=1, epsilon=_EPSILON)
            if expansion > 1
            else None
        )
        self.depthwise = ConvNorm(
            hidden, hidden, size=3, stride=stride, groups=hidden, epsilon=_EPSILON
        )
        self.project = ConvNorm(hidden, out_channels, size=1, epsilon=_EPSILON)
        self.residual = stride == 1 and in_channels == out_channels

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        hidden = x if self.expand is None else relu6(self.expand(x))
        hidden = self.project(relu6(self.depthwise(hidden)))
        return x + hidden if self.residual else hidden


class MobileNetV2(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, width: float, classes: int | None):
        """Makes a network of this width, with a classifier if `classes` says so."""
        channels = round_channels(32 * width)
        self.stem = ConvNorm(3, channels, size=3, stride=2, epsilon=_EPSILON)
        blocks = []
        for i, (filters, stride) in enumerate(_BLOCKS):
            # Keras truncates before it rounds.
            out_channels = round_channels(int(filters * width))
            blocks.append(
                InvertedResidual(
                    channels,
                    out_channels,
                    stride=stride,
                    expansion=_EXPANSION if i else 1,
                )
            )
            channels = out_channels
        self.blocks = nnx.List(blocks)
        last = round_channels(1280 * max(width, 1.0))  # narrow ones keep all 1,280
        self.head_conv = ConvNorm(channels, last, size=1, epsilon=_EPSILON)
        self.classifier = None if classes is None else Linear(last, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        outputs = {"stem": relu6(self.stem(x))}
        x = outputs["stem"]
        for i, block in enumerate(self.blocks):
            x = outputs[f"block{i}"] = block(x)
        x = outputs["head_conv"] = relu6(self.head_conv(x))
        x = outputs["pool"] = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        if self.classifier is not None:
            # Back in the compute dtype, which the mean left for its many terms.
            outputs["logits"] = self.classifier(x.astype(outputs["stem"].dtype))
        return outputs


def make_architecture(
    name: str = NAME, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns MobileNetV2 of a width and an input size.

    Args:
      name: `NAME`.
      settings: `width`, 0.35 to 1.4 (published: `WIDTHS`); `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    filled = fill_settings(name, settings, {"width": 1.0, "input_size": 224})
    width, size = filled["width"], filled["input_size"]
    if not (isinstance(width, float) and WIDTHS[0] <= width <= WIDTHS[-1]):
        raise BackboneError(
            f"Asked for {name} with width = {width}; it takes {WIDTHS[0]} to "
            f"{WIDTHS[-1]}; weights are published for {', '.join(map(str, WIDTHS))}."
        )
    if not (isinstance(size, int) and MIN_INPUT <= size <= 2048):
        raise BackboneError(
            f"Asked for {name} with input_size = {size}; it takes {MIN_INPUT} to 2048."
        )
    return Architecture(
        name=name,
        settings=filled,
        preprocess=keras_crop("tf", size),
        classes=CLASSES,
        make_network=lambda classes: MobileNetV2(width, classes),
        key_rules={"keras-h5": tuple(_keras_rules())},
        checkpoints=list_checkpoints(name, width=width),
        how_to_get=say_how_to_get(name, width=width),
    )


def round_channels(channels: float) -> int:
    """Rounds to a multiple of 8, at least 8, never down by more than a tenth.

    Example:
      >>> round_channels(33.6), round_channels(11.2)
      (32, 16)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _keras_rules() -> Iterator[Rule]:
    """Yields where each parameter is in Keras' legacy layout."""
    yield from _conv_norm_rules("Conv1", "bn_Conv1", "stem")
    for i in range(len(_BLOCKS)):
        block = f"block_{i}" if i else "expanded_conv"
        for part in (
            ("expand", "depthwise", "project") if i else ("depthwise", "project")
        ):
            layer = f"{block}_{part}"
            yield from _conv_norm_rules(layer, f"{layer}_BN", f"blocks.{i}.{part}")
    yield from _conv_norm_rules("Conv_1", "Conv_1_bn", "head_conv")
    # "Logits" until Keras 2.3, whose published files keep the name.
    for layer in ("predictions", "Logits"):
        for leaf in ("kernel", "bias"):
            yield f"{layer}/{leaf}", f"classifier.{leaf}", "same"


def _conv_norm_rules(conv: str, norm: str, target: str) -> Iterator[Rule]:
    if target.endswith("depthwise"):
        # Keras 2 writes depthwise_kernel, Keras 3 kernel.
        for leaf in ("kernel", "depthwise_kernel"):
            yield f"{conv}/{leaf}", f"{target}.conv.kernel", "depthwise"
    else:
        yield f"{conv}/kernel", f"{target}.conv.kernel", "same"
    for theirs, ours in (
        ("gamma", "scale"),
        ("beta", "bias"),
        ("moving_mean", "mean"),
        ("moving_variance", "var"),
    ):
        yield f"{norm}/{theirs}", f"{target}.norm.{ours}", "same"
