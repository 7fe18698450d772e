"""VGG, with and without BatchNorm, the same network in Keras, torchvision and timm.

Outputs: `block1` to `block5`, each after its pooling, `pool` (the mean of `block5` over
pixels), and with a classifier `fc1`, `fc2` and `logits`.

Reference:
  Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556
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
from tl_pipeline.backbones.crops import center_crop, keras_crop
from tl_pipeline.backbones.dense_top import (
    DenseTop,
    keras_top_rules,
    torchvision_top_rules,
)
from tl_pipeline.backbones.layers import Conv, ConvNorm, relu
from tl_pipeline.backbones.layouts import (
    KERAS,
    TIMM,
    TORCHVISION,
    keras_layer,
    torch_layer,
    torch_norm,
)
from tl_pipeline.backbones.pooling import global_average_pool, max_pool
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

MIN_INPUT = 32  # five halvings
_EPSILON = 1e-5
_FILTERS = (64, 128, 256, 512, 512)  # of block1 to block5
_TOP_SIZE = 7  # pixels a side of block5 that the top sees


class Variant(NamedTuple):
    """A depth.

    Attributes:
      convs: 3×3 convolutions in each block.
      norm: Whether a BatchNorm follows each.
    """

    convs: tuple[int, int, int, int, int]
    norm: bool


VARIANTS = {
    "vgg16": Variant((2, 2, 3, 3, 3), norm=False),
    "vgg16_bn": Variant((2, 2, 3, 3, 3), norm=True),
    "vgg19": Variant((2, 2, 4, 4, 4), norm=False),
    "vgg19_bn": Variant((2, 2, 4, 4, 4), norm=True),
}


class VGG(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, variant: Variant, classes: int | None):
        """Makes a network of this depth, with its top if `classes` says so."""
        channels, blocks = 3, []
        for filters, n_convs in zip(_FILTERS, variant.convs, strict=True):
            convs = []
            for _ in range(n_convs):
                convs.append(
                    ConvNorm(channels, filters, size=3, bias=True, epsilon=_EPSILON)
                    if variant.norm
                    else Conv(channels, filters, size=3, bias=True)
                )
                channels = filters
            blocks.append(nnx.List(convs))
        self.blocks = nnx.List(blocks)
        self.classifier = (
            None if classes is None else DenseTop(_TOP_SIZE, channels, classes)
        )

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        outputs = {}
        for i, convs in enumerate(self.blocks, start=1):
            for conv in convs:
                x = relu(conv(x))
            x = outputs[f"block{i}"] = max_pool(x, size=2, stride=2)
        outputs["pool"] = global_average_pool(x)
        if self.classifier is not None:
            outputs |= self.classifier.outputs(x)
        return outputs


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a VGG.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side; `block5` is pooled to 7×7 for the top.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    filled = fill_settings(name, settings, {"input_size": 224})
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    variant = VARIANTS[name]
    rules = {
        TORCHVISION: (
            *_torch_rules(variant),
            *torchvision_top_rules(_TOP_SIZE, (0, 3, 6)),
        ),
        TIMM: (*_torch_rules(variant), *_timm_top_rules()),
    }
    if not variant.norm:
        rules[KERAS] = (*_keras_rules(variant), *keras_top_rules(_TOP_SIZE))
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size),
        preprocesses={KERAS: keras_crop("caffe", size)},
        classes=CLASSES,
        make_network=lambda classes: VGG(variant, classes),
        key_rules=rules,
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _keras_rules(variant: Variant) -> Iterator[Rule]:
    for block, n_convs in enumerate(variant.convs):
        for i in range(n_convs):
            yield from keras_layer(
                f"block{block + 1}_conv{i + 1}", f"blocks.{block}.{i}"
            )


def _torch_rules(variant: Variant) -> Iterator[Rule]:
    index = 0  # in one sequence of convolutions, norms, activations and poolings
    for block, n_convs in enumerate(variant.convs):
        for i in range(n_convs):
            conv, ours = f"features.{index}", f"blocks.{block}.{i}"
            if variant.norm:
                yield from torch_layer(conv, f"{ours}.conv")
                yield from torch_norm(f"features.{index + 1}", f"{ours}.norm")
            else:
                yield from torch_layer(conv, ours)
            index += 3 if variant.norm else 2
        index += 1


def _timm_top_rules() -> Iterator[Rule]:
    yield from torch_layer("pre_logits.fc1", "classifier.fc1")
    yield from torch_layer("pre_logits.fc2", "classifier.fc2", "torch-pixel")
    yield from torch_layer("head.fc", "classifier")
