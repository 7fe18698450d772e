"""DenseNet, as torchvision and timm have it, and as `keras.applications` does.

Keras' differs in epsilon alone. Outputs: `stem` (before its pooling), `block1` to
`block4` (before their transitions), `pool` (the mean over pixels of the last, normed),
and `logits` with a classifier.

Chest X-rays' (torchxrayvision) has one channel, which its file shows: the setting
`channels`. Its calibrated thresholds are left out.

Reference:
  Huang et al. 2016, https://arxiv.org/abs/1608.06993
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import (
    UNUSED,
    Architecture,
    Rule,
    check_channels,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import center_crop, gray_crop, keras_crop
from tl_pipeline.backbones.layers import Conv, ConvNorm, Linear, make_norm, relu
from tl_pipeline.backbones.layouts import (
    KERAS,
    TORCH,
    keras_conv_norm,
    keras_layer,
    keras_norm,
    torch_conv_norm,
    torch_layer,
    torch_norm,
)
from tl_pipeline.backbones.pooling import (
    average_pool,
    global_average_pool,
    max_pool,
)
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

MIN_INPUT = 32  # five halvings
_STEM = 64
_GROWTH = 32  # channels that a layer adds
_BOTTLENECK = 4  # times as many in between


class Variant(NamedTuple):
    """A depth: dense layers in each block, and whether it is Keras'."""

    layers: tuple[int, int, int, int]
    keras: bool

    @property
    def epsilon(self) -> float:
        """Of every BatchNorm."""
        return 1.001e-5 if self.keras else 1e-5


VARIANTS = {
    f"{prefix}densenet{depth}": Variant(layers, bool(prefix))
    for prefix in ("", "keras_")
    for depth, layers in (
        (121, (6, 12, 24, 16)),
        (169, (6, 12, 32, 32)),
        (201, (6, 12, 48, 32)),
    )
}


class DenseLayer(nnx.Module):
    """Adds channels that are computed from all that came before."""

    def __init__(self, in_channels: int, *, epsilon: float):
        """Makes the layer."""
        hidden = _BOTTLENECK * _GROWTH
        self.norm = make_norm(in_channels, epsilon=epsilon)
        self.bottleneck = ConvNorm(in_channels, hidden, size=1, epsilon=epsilon)
        self.conv = Conv(hidden, _GROWTH, size=3)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, C + growth]."""
        new = relu(self.bottleneck(relu(self.norm(x))))
        return jnp.concatenate([x, self.conv(new)], axis=-1)


class Transition(nnx.Module):
    """Halves the channels, and then both axes."""

    def __init__(self, in_channels: int, *, epsilon: float):
        """Makes the layer."""
        self.norm = make_norm(in_channels, epsilon=epsilon)
        self.conv = Conv(in_channels, in_channels // 2, size=1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / 2, W / 2, C / 2]."""
        x = self.conv(relu(self.norm(x)))
        return average_pool(x, size=2, stride=2)


class DenseNet(nnx.Module):
    """The network, on images of any size from 32×32."""

    def __init__(self, variant: Variant, classes: int | None, *, in_channels: int = 3):
        """Makes a network of this depth, with a classifier if `classes` says so."""
        epsilon = variant.epsilon
        self.stem = ConvNorm(
            in_channels, _STEM, size=7, stride=2, padding=3, epsilon=epsilon
        )
        channels, blocks, transitions = _STEM, [], []
        for block, n_layers in enumerate(variant.layers):
            layers = []
            for _ in range(n_layers):
                layers.append(DenseLayer(channels, epsilon=epsilon))
                channels += _GROWTH
            blocks.append(nnx.List(layers))
            if block + 1 < len(variant.layers):
                transitions.append(Transition(channels, epsilon=epsilon))
                channels //= 2
        self.blocks = nnx.List(blocks)
        self.transitions = nnx.List(transitions)
        self.norm = make_norm(channels, epsilon=epsilon)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, C] by name, in order."""
        outputs = {"stem": relu(self.stem(x))}
        x = max_pool(outputs["stem"], size=3, stride=2, padding=1)
        for i, layers in enumerate(self.blocks):
            for layer in layers:
                x = layer(x)
            outputs[f"block{i + 1}"] = x
            if i < len(self.transitions):
                x = self.transitions[i](x)
        x = relu(self.norm(x))
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a DenseNet.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side; `channels`, 3 or 1.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    later = {"channels": 3}
    filled = fill_settings(name, settings, {"input_size": 224}, later=later)
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    channels = check_channels(name, filled.get("channels", 3))
    variant = VARIANTS[name]
    layout, rules, preprocess = (
        (KERAS, _keras_rules(variant), keras_crop("torch", size))
        if variant.keras
        else (TORCH, _torch_rules(variant), center_crop(size))
    )
    return Architecture(
        name=name,
        settings=filled,
        preprocess=gray_crop(size) if channels == 1 else preprocess,
        classes=CLASSES,
        make_network=lambda classes: DenseNet(variant, classes, in_channels=channels),
        key_rules={layout: tuple(rules)},
        first_kernel="stem.conv.kernel",
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _keras_rules(variant: Variant) -> Iterator[Rule]:
    yield from keras_conv_norm("conv1_conv", "conv1_bn", "stem")
    for block, n_layers in enumerate(variant.layers):
        for i in range(n_layers):
            theirs, ours = f"conv{block + 2}_block{i + 1}", f"blocks.{block}.{i}"
            yield from keras_norm(f"{theirs}_0_bn", f"{ours}.norm")
            yield from keras_conv_norm(
                f"{theirs}_1_conv", f"{theirs}_1_bn", f"{ours}.bottleneck"
            )
            yield from keras_layer(f"{theirs}_2_conv", f"{ours}.conv", bias=False)
        if block + 1 < len(variant.layers):
            theirs, ours = f"pool{block + 2}", f"transitions.{block}"
            yield from keras_norm(f"{theirs}_bn", f"{ours}.norm")
            yield from keras_layer(f"{theirs}_conv", f"{ours}.conv", bias=False)
    yield from keras_norm("bn", "norm")
    for layer in ("predictions", "fc1000"):  # the latter in files of Keras 2.2
        yield from keras_layer(layer, "classifier")


def _torch_rules(variant: Variant) -> Iterator[Rule]:
    yield from torch_conv_norm("features.conv0", "features.norm0", "stem")
    for block, n_layers in enumerate(variant.layers):
        for i in range(n_layers):
            theirs = f"features.denseblock{block + 1}.denselayer{i + 1}"
            ours = f"blocks.{block}.{i}"
            # With a dot in torchvision's published files, older than its code.
            for dot in ("", "."):
                yield from torch_norm(f"{theirs}.norm{dot}1", f"{ours}.norm")
                yield from torch_conv_norm(
                    f"{theirs}.conv{dot}1",
                    f"{theirs}.norm{dot}2",
                    f"{ours}.bottleneck",
                )
                yield from torch_layer(
                    f"{theirs}.conv{dot}2", f"{ours}.conv", bias=False
                )
        if block + 1 < len(variant.layers):
            theirs, ours = f"features.transition{block + 1}", f"transitions.{block}"
            yield from torch_norm(f"{theirs}.norm", f"{ours}.norm")
            yield from torch_layer(f"{theirs}.conv", f"{ours}.conv", bias=False)
    yield from torch_norm("features.norm5", "norm")
    yield from torch_layer("classifier", "classifier")
    yield "op_threshs", UNUSED, "same"
