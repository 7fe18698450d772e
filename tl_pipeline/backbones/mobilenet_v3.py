"""MobileNetV3 small and large, and PyTorch's MobileNetV2, under their libraries' names.

`mobilenet_v3_*` are torchvision's, `mobilenetv3_*_100` and `mobilenetv2_100` timm's
(torchvision's MobileNetV2 is the latter too), and `tf_mobilenetv3_*_100` Google's own,
as Keras has them: they differ in padding and epsilon. Outputs as in
`inverted_residual`; V3's hidden layer after `pool` is the classifier's.

References:
  Howard et al. 2019, https://arxiv.org/abs/1905.02244
  Sandler et al. 2018, https://arxiv.org/abs/1801.04381
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tl_pipeline.backbones.architecture import (
    Architecture,
    Rule,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import center_crop, keras_crop
from tl_pipeline.backbones.inverted_residual import (
    INVERTED,
    SEPARABLE,
    BlockSpec,
    MobileNetwork,
    NetworkSpec,
    round_channels,
)
from tl_pipeline.backbones.layouts import (
    KERAS,
    TIMM,
    TORCHVISION,
    keras_conv_norm,
    keras_layer,
)
from tl_pipeline.backbones.mobile_layouts import timm_rules, torchvision_rules
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.digest import Json

MIN_INPUT = 32  # five halvings

_RELU, _SWISH = "relu", "hard_swish"


class Row(NamedTuple):
    """Blocks of one shape; the first of them has the stride."""

    size: int
    hidden: tuple[int, ...]  # of each block
    outputs: int
    squeezes: bool
    activation: str
    stride: int


# Tables 1 and 2 of the V3 paper, and 2 of V2's; a row is a stage of timm's.
_SMALL = (
    Row(3, (16,), 16, True, _RELU, 2),
    Row(3, (72, 88), 24, False, _RELU, 2),
    Row(5, (96, 240, 240), 40, True, _SWISH, 2),
    Row(5, (120, 144), 48, True, _SWISH, 1),
    Row(5, (288, 576, 576), 96, True, _SWISH, 2),
)
_LARGE = (
    Row(3, (16,), 16, False, _RELU, 1),
    Row(3, (64, 72), 24, False, _RELU, 2),
    Row(5, (72, 120, 120), 40, True, _RELU, 2),
    Row(3, (240, 200, 184, 184), 80, False, _SWISH, 2),
    Row(3, (480, 672), 112, True, _SWISH, 1),
    Row(5, (672, 960, 960), 160, True, _SWISH, 2),
)
_V2 = (
    Row(3, (32,), 16, False, "relu6", 1),
    Row(3, (96, 144), 24, False, "relu6", 2),
    Row(3, (144, 192, 192), 32, False, "relu6", 2),
    Row(3, (192, 384, 384, 384), 64, False, "relu6", 2),
    Row(3, (384, 576, 576), 96, False, "relu6", 1),
    Row(3, (576, 960, 960), 160, False, "relu6", 2),
    Row(3, (960,), 320, False, "relu6", 1),
)


class Variant(NamedTuple):
    """A size, in the form of a library.

    Attributes:
      rows: Its blocks.
      stem: Channels of the first convolution.
      head: Channels of the last convolution.
      hidden: Of the classifier's hidden layer; 0 for none.
      epsilon: Of every BatchNorm.
      layouts: That it is published in.
    """

    rows: tuple[Row, ...]
    stem: int
    head: int
    hidden: int
    epsilon: float
    layouts: tuple[str, ...]


VARIANTS = {
    "mobilenet_v3_small": Variant(_SMALL, 16, 576, 1024, 1e-3, (TORCHVISION,)),
    "mobilenet_v3_large": Variant(_LARGE, 16, 960, 1280, 1e-3, (TORCHVISION,)),
    "mobilenetv3_small_100": Variant(_SMALL, 16, 576, 1024, 1e-5, (TIMM,)),
    "mobilenetv3_large_100": Variant(_LARGE, 16, 960, 1280, 1e-5, (TIMM,)),
    "tf_mobilenetv3_small_100": Variant(_SMALL, 16, 576, 1024, 1e-3, (TIMM, KERAS)),
    "tf_mobilenetv3_large_100": Variant(_LARGE, 16, 960, 1280, 1e-3, (TIMM, KERAS)),
    "mobilenetv2_100": Variant(_V2, 32, 1280, 0, 1e-5, (TIMM, TORCHVISION)),
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a MobileNet.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    variant = VARIANTS[name]
    filled = fill_settings(name, settings, {"input_size": 224})
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    spec = _make_spec(variant)
    body = "block" if variant.hidden else "conv"
    rules = {
        TIMM: timm_rules(spec),
        TORCHVISION: torchvision_rules(spec, staged=False, body=body),
        KERAS: _keras_rules(spec),
    }
    timm = center_crop(size, interpolation="bicubic")
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size) if TORCHVISION in variant.layouts else timm,
        preprocesses={TIMM: timm, KERAS: keras_crop("tf", size)},
        classes=CLASSES,
        make_network=lambda classes: MobileNetwork(spec, classes),
        key_rules={layout: tuple(rules[layout]) for layout in variant.layouts},
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _make_spec(variant: Variant) -> NetworkSpec:
    channels, stages = variant.stem, []
    for stage, row in enumerate(variant.rows):
        blocks = []
        for i, hidden in enumerate(row.hidden):
            blocks.append(
                BlockSpec(
                    kind=INVERTED if stage else SEPARABLE,
                    inputs=channels,
                    hidden=hidden,
                    outputs=row.outputs,
                    size=row.size,
                    stride=1 if i else row.stride,
                    squeezed=round_channels(hidden / 4) if row.squeezes else 0,
                    activation=row.activation,
                )
            )
            channels = row.outputs
        stages.append(tuple(blocks))
    return NetworkSpec(
        stem=variant.stem,
        stages=tuple(stages),
        head=variant.head,
        hidden=variant.hidden,
        activation=_SWISH if variant.hidden else "relu6",
        squeeze=_RELU,
        gate="hard_sigmoid",
        epsilon=variant.epsilon,
        same=KERAS in variant.layouts,
    )


def _keras_rules(spec: NetworkSpec) -> Iterator[Rule]:
    """Yields Keras 3's names, and those of Keras 2, in which files are published."""
    for slash in (False, True):
        norm = "/BatchNorm" if slash else "_bn"
        stem, last = ("Conv", "Conv_1") if slash else ("conv", "conv_1")
        hidden, logits = ("Conv_2", "Logits") if slash else ("conv_2", "logits")
        yield from keras_conv_norm(stem, stem + norm, "stem")
        number = 0
        for stage, blocks in enumerate(spec.stages):
            for i, block in enumerate(blocks):
                theirs = f"expanded_conv_{number}" if number else "expanded_conv"
                theirs += "/" if slash else "_"
                yield from _keras_block(
                    theirs, f"stages.{stage}.{i}", block, norm, slash=slash
                )
                number += 1
        yield from keras_conv_norm(last, last + norm, "head_conv")
        yield from keras_layer(hidden, "classifier.hidden", "pixel")
        yield from keras_layer(logits, "classifier", "pixel")


def _keras_block(
    theirs: str, ours: str, block: BlockSpec, norm: str, *, slash: bool
) -> Iterator[Rule]:
    parts = ("expand", "depthwise", "project")
    for part in parts if block.kind == INVERTED else parts[1:]:
        conv = f"{theirs}{part}"
        transform = "depthwise" if part == "depthwise" else "same"
        yield from keras_conv_norm(conv, conv + norm, f"{ours}.{part}", transform)
    if block.squeezed:
        conv = f"{theirs}squeeze_excite{'/Conv' if slash else '_conv'}"
        yield from keras_layer(conv, f"{ours}.excite.reduce", "pixel")
        yield from keras_layer(f"{conv}_1", f"{ours}.excite.expand", "pixel")
