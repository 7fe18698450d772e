"""Networks of inverted residual blocks: MobileNetV2 (PyTorch's), V3 and EfficientNet.

Outputs: `stem`, `stage1` and so on, `head_conv` (the last 1×1 convolution), `pool` (its
mean over pixels), and `logits` with a classifier.

References:
  Sandler et al. 2018, https://arxiv.org/abs/1801.04381
  Hu et al. 2017, https://arxiv.org/abs/1709.01507
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
from flax import nnx

from tl_pipeline.backbones.convolution import Padding
from tl_pipeline.backbones.layers import ConvNorm, Linear, relu, relu6
from tl_pipeline.backbones.pooling import global_average_pool

# Ends of a block: a separable one has no expansion; a fused one expands by a full
# convolution; a plain one is that alone.
SEPARABLE, INVERTED, FUSED, PLAIN = "separable", "inverted", "fused", "plain"

_ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "relu": relu,
    "relu6": relu6,
    "silu": jax.nn.silu,
    "hard_swish": jax.nn.hard_swish,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
}


class BlockSpec(NamedTuple):
    """A block.

    Attributes:
      kind: `SEPARABLE`, `INVERTED`, `FUSED` or `PLAIN`.
      inputs: Channels that it takes.
      hidden: Channels in between.
      outputs: Channels that it gives.
      size: Of its kernel.
      stride: Of its convolution with that kernel.
      squeezed: Channels of squeeze and excite; 0 for none.
      activation: One of jax.nn.
    """

    kind: str
    inputs: int
    hidden: int
    outputs: int
    size: int
    stride: int
    squeezed: int
    activation: str


class NetworkSpec(NamedTuple):
    """A network.

    Attributes:
      stem: Channels of the first convolution.
      stages: Blocks by stage.
      head: Channels of the last convolution.
      hidden: Of the classifier's hidden layer; 0 for none.
      activation: Of stem, head and hidden layer.
      squeeze: Activation of what is squeezed.
      gate: What excites.
      epsilon: Of every BatchNorm.
      same: Whether padding is TensorFlow's; else it is PyTorch's, equal on both sides.
    """

    stem: int
    stages: tuple[tuple[BlockSpec, ...], ...]
    head: int
    hidden: int
    activation: str
    squeeze: str
    gate: str
    epsilon: float
    same: bool

    def padding(self, size: int) -> Padding:
        """Returns the padding for a kernel."""
        return "SAME" if self.same else size // 2


class SqueezeExcite(nnx.Module):
    """Scales every channel by what the means of all channels say."""

    def __init__(self, channels: int, squeezed: int, *, activation: str, gate: str):
        """Makes two dense layers, to `squeezed` and back."""
        self.activation, self.gate = activation, gate
        self.reduce = Linear(channels, squeezed)
        self.expand = Linear(squeezed, channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the same."""
        means = global_average_pool(x).astype(x.dtype)
        hidden = _ACTIVATIONS[self.activation](self.reduce(means))
        scale = _ACTIVATIONS[self.gate](self.expand(hidden))
        return x * scale[:, None, None, :]


class MobileBlock(nnx.Module):
    """Expand, filter, excite, project; each part where the kind of block has it."""

    def __init__(self, spec: BlockSpec, network: NetworkSpec):
        """Makes a block of a network."""
        self.activation = spec.activation
        epsilon = network.epsilon
        kernel = {
            "size": spec.size,
            "stride": spec.stride,
            "padding": network.padding(spec.size),
        }
        expand = depthwise = excite = project = None
        if spec.kind == INVERTED:
            expand = ConvNorm(spec.inputs, spec.hidden, size=1, epsilon=epsilon)
        elif spec.kind in (FUSED, PLAIN):
            expand = ConvNorm(spec.inputs, spec.hidden, **kernel, epsilon=epsilon)
        if spec.kind in (INVERTED, SEPARABLE):
            depthwise = ConvNorm(
                spec.hidden, spec.hidden, **kernel, groups=spec.hidden, epsilon=epsilon
            )
        if spec.squeezed:
            excite = SqueezeExcite(
                spec.hidden,
                spec.squeezed,
                activation=network.squeeze,
                gate=network.gate,
            )
        if spec.kind != PLAIN:
            project = ConvNorm(spec.hidden, spec.outputs, size=1, epsilon=epsilon)
        self.expand, self.depthwise = expand, depthwise
        self.excite, self.project = excite, project
        self.residual = spec.stride == 1 and spec.inputs == spec.outputs

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / stride, W / stride, D]."""
        activate, hidden = _ACTIVATIONS[self.activation], x
        for conv in (self.expand, self.depthwise):
            if conv is not None:
                hidden = activate(conv(hidden))
        if self.excite is not None:
            hidden = self.excite(hidden)
        if self.project is not None:
            hidden = self.project(hidden)
        return x + hidden if self.residual else hidden


class HiddenTop(Linear):
    """A classifier with a hidden layer: [B, D] to [B, K]."""

    def __init__(self, in_features: int, hidden: int, classes: int, *, activation: str):
        """Makes both layers, of zeros."""
        super().__init__(hidden, classes)
        self.activation = activation
        self.hidden = Linear(in_features, hidden)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, D] to [B, K]."""
        return super().__call__(_ACTIVATIONS[self.activation](self.hidden(x)))


class MobileNetwork(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, spec: NetworkSpec, classes: int | None):
        """Makes the network, with a classifier if `classes` says so."""
        self.activation = spec.activation
        self.stem = ConvNorm(
            3,
            spec.stem,
            size=3,
            stride=2,
            padding=spec.padding(3),
            epsilon=spec.epsilon,
        )
        self.stages = nnx.List(
            [
                nnx.List([MobileBlock(block, spec) for block in stage])
                for stage in spec.stages
            ]
        )
        last = spec.stages[-1][-1].outputs
        self.head_conv = ConvNorm(last, spec.head, size=1, epsilon=spec.epsilon)
        if classes is None:
            self.classifier = None
        elif spec.hidden:
            self.classifier = HiddenTop(
                spec.head, spec.hidden, classes, activation=spec.activation
            )
        else:
            self.classifier = Linear(spec.head, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        activate = _ACTIVATIONS[self.activation]
        outputs = {"stem": activate(self.stem(x))}
        x = outputs["stem"]
        for i, blocks in enumerate(self.stages, start=1):
            for block in blocks:
                x = block(x)
            outputs[f"stage{i}"] = x
        x = outputs["head_conv"] = activate(self.head_conv(x))
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def round_channels(channels: float) -> int:
    """Rounds to a multiple of 8, at least 8, never down by more than a tenth.

    Example:
      >>> round_channels(33.6), round_channels(11.2)
      (32, 16)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
