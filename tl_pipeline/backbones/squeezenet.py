"""SqueezeNet 1.0 and 1.1, as torchvision has them, and the 1.1 of keras-squeezenet.

They differ in the windows that reach beyond the image: torchvision keeps them, and
Keras leaves them out.

Outputs: `stem` and `fire2` to `fire9` (before their poolings), `pool` (the mean of
`fire9` over pixels), and `logits` with a classifier, which sees pixels, not `pool`.

Reference:
  Iandola et al. 2016, https://arxiv.org/abs/1602.07360
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
from tl_pipeline.backbones.crops import center_crop, keras_crop
from tl_pipeline.backbones.layers import Conv, Linear, relu
from tl_pipeline.backbones.layouts import (
    KERAS,
    TORCHVISION,
    keras_layer,
    torch_layer,
)
from tl_pipeline.backbones.pooling import global_average_pool, max_pool
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

MIN_INPUT = 35  # a smaller image has no pixel left for the last pooling
# (squeezed, expanded by 1×1 and by 3×3 each) of fire2 to fire9
_FIRES = (
    *((16, 64), (16, 64)),
    *((32, 128), (32, 128)),
    *((48, 192), (48, 192)),
    *((64, 256), (64, 256)),
)


class Variant(NamedTuple):
    """A version.

    Attributes:
      filters: Of the first convolution.
      size: Of its kernel.
      pooled: Which of conv1 and fire2 to fire9 a pooling follows, by number.
      keras: Whether it is Keras', for images of 227 pixels a side.
    """

    filters: int
    size: int
    pooled: tuple[int, int, int]
    keras: bool


VARIANTS = {
    "squeezenet1_0": Variant(96, 7, (1, 4, 8), keras=False),
    "squeezenet1_1": Variant(64, 3, (1, 3, 5), keras=False),
    "keras_squeezenet1_1": Variant(64, 3, (1, 3, 5), keras=True),
}


class Fire(nnx.Module):
    """Squeeze by a 1×1 convolution, expand by a 1×1 and a 3×3 beside each other."""

    def __init__(self, in_channels: int, squeezed: int, expanded: int):
        """Makes a module of 2 * expanded channels."""
        self.squeeze = Conv(in_channels, squeezed, size=1, bias=True)
        self.expand1 = Conv(squeezed, expanded, size=1, bias=True)
        self.expand3 = Conv(squeezed, expanded, size=3, bias=True)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, D]."""
        x = relu(self.squeeze(x))
        return relu(jnp.concatenate([self.expand1(x), self.expand3(x)], axis=-1))


class SqueezeNet(nnx.Module):
    """The network, on color images of any size from 35×35."""

    def __init__(self, variant: Variant, classes: int | None):
        """Makes a network of this version, with a classifier if `classes` says so."""
        self.variant = variant
        self.stem = Conv(
            3, variant.filters, size=variant.size, stride=2, padding=0, bias=True
        )
        channels, fires = variant.filters, []
        for squeezed, expanded in _FIRES:
            fires.append(Fire(channels, squeezed, expanded))
            channels = 2 * expanded
        self.fires = nnx.List(fires)
        self.classifier = None if classes is None else Linear(channels, classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        outputs = {"stem": relu(self.stem(x))}
        x = self._pool(outputs["stem"], 1)
        for i, fire in enumerate(self.fires, start=2):
            outputs[f"fire{i}"] = fire(x)
            x = self._pool(outputs[f"fire{i}"], i)
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            pixels = self.classifier(x.reshape(-1, x.shape[-1]))
            pixels = relu(pixels).reshape(*x.shape[:-1], -1)
            outputs["logits"] = global_average_pool(pixels)
        return outputs

    def _pool(self, x: jax.Array, number: int) -> jax.Array:
        if number not in self.variant.pooled:
            return x
        return max_pool(x, size=3, stride=2, ceil=not self.variant.keras)


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a SqueezeNet.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    variant = VARIANTS[name]
    published = 227 if variant.keras else 224
    filled = fill_settings(name, settings, {"input_size": published})
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    layout, rules = (
        (KERAS, _keras_rules())
        if variant.keras
        else (TORCHVISION, _torch_rules(variant))
    )
    preprocess = keras_crop("caffe", size) if variant.keras else center_crop(size)
    return Architecture(
        name=name,
        settings=filled,
        preprocess=preprocess,
        classes=CLASSES,
        make_network=lambda classes: SqueezeNet(variant, classes),
        key_rules={layout: tuple(rules)},
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _keras_rules() -> Iterator[Rule]:
    yield from keras_layer("conv1", "stem")
    for i in range(len(_FIRES)):
        for theirs, ours in (
            ("squeeze1x1", "squeeze"),
            ("expand1x1", "expand1"),
            ("expand3x3", "expand3"),
        ):
            yield from keras_layer(f"fire{i + 2}/{theirs}", f"fires.{i}.{ours}")
    yield from keras_layer("conv10", "classifier", "pixel")


def _torch_rules(variant: Variant) -> Iterator[Rule]:
    yield from torch_layer("features.0", "stem")
    index = 3  # in one sequence, after the first convolution, its ReLU and its pooling
    for i in range(len(_FIRES)):
        for theirs, ours in (
            ("squeeze", "squeeze"),
            ("expand1x1", "expand1"),
            ("expand3x3", "expand3"),
        ):
            yield from torch_layer(f"features.{index}.{theirs}", f"fires.{i}.{ours}")
        index += 2 if i + 2 in variant.pooled else 1
    yield from torch_layer("classifier.1", "classifier", "torch-pixel")
