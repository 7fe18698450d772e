"""AlexNet, as torchvision has it: one column, without local normalization.

Outputs: `block1` to `block5` (those that pool, after their pooling), `pool` (the mean
of `block5` over pixels), and with a classifier `fc1`, `fc2` and `logits`.

Reference:
  Krizhevsky 2014, https://arxiv.org/abs/1404.5997
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
from flax import nnx

from tl_pipeline.backbones.architecture import (
    Architecture,
    Rule,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import center_crop
from tl_pipeline.backbones.dense_top import DenseTop, torchvision_top_rules
from tl_pipeline.backbones.layers import Conv, relu
from tl_pipeline.backbones.layouts import TORCHVISION, torch_layer
from tl_pipeline.backbones.pooling import global_average_pool, max_pool
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

NAME = "alexnet"
MIN_INPUT = 63  # a smaller image has no pixel left for the last pooling
_TOP_SIZE = 6  # pixels a side of block5 that the top sees


class Block(NamedTuple):
    """A convolution, whether a pooling follows, and torchvision's number of it."""

    filters: int
    size: int
    stride: int
    padding: int
    pooled: bool
    module: int


_BLOCKS = (
    Block(64, 11, 4, 2, True, 0),
    Block(192, 5, 1, 2, True, 3),
    Block(384, 3, 1, 1, False, 6),
    Block(256, 3, 1, 1, False, 8),
    Block(256, 3, 1, 1, True, 10),
)


class AlexNet(nnx.Module):
    """The network, on color images of any size from 63×63."""

    def __init__(self, classes: int | None):
        """Makes the network, with its top if `classes` says so."""
        channels, convs = 3, []
        for block in _BLOCKS:
            convs.append(
                Conv(
                    channels,
                    block.filters,
                    size=block.size,
                    stride=block.stride,
                    padding=block.padding,
                    bias=True,
                )
            )
            channels = block.filters
        self.convs = nnx.List(convs)
        self.classifier = (
            None if classes is None else DenseTop(_TOP_SIZE, channels, classes)
        )

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        outputs = {}
        for i, (block, conv) in enumerate(zip(_BLOCKS, self.convs, strict=True)):
            x = relu(conv(x))
            if block.pooled:
                x = max_pool(x, size=3, stride=2)
            outputs[f"block{i + 1}"] = x
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs |= self.classifier.outputs(x)
        return outputs


def make_architecture(
    name: str = NAME, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns AlexNet.

    Args:
      name: `NAME`.
      settings: `input_size`, pixels a side; `block5` is pooled to 6×6 for the top.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    filled = fill_settings(name, settings, {"input_size": 224})
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size),
        classes=CLASSES,
        make_network=AlexNet,
        key_rules={TORCHVISION: tuple(_torch_rules())},
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _torch_rules() -> Iterator[Rule]:
    for i, block in enumerate(_BLOCKS):
        yield from torch_layer(f"features.{block.module}", f"convs.{i}")
    yield from torchvision_top_rules(_TOP_SIZE, (1, 4, 6))
