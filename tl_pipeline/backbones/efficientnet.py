"""EfficientNet B0 to B7 and V2 S and M, in their two forms.

`efficientnet_*` are those of torchvision and timm, padded equally on both sides;
`tf_efficientnet*` are Google's own, as Keras and timm's `tf_` models have them. Outputs
as in `inverted_residual`.

References:
  Tan and Le 2019, https://arxiv.org/abs/1905.11946
  Tan and Le 2021, https://arxiv.org/abs/2104.00298
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tl_pipeline.backbones.architecture import (
    UNUSED,
    Architecture,
    Rule,
    check_input_size,
    fill_settings,
)
from tl_pipeline.backbones.crops import HALVES, center_crop, keras_crop
from tl_pipeline.backbones.inverted_residual import (
    FUSED,
    INVERTED,
    PLAIN,
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
from tl_pipeline.preprocess import ImagePreprocess

MIN_INPUT = 32  # five halvings


class Stage(NamedTuple):
    """Blocks of one shape; the first of them has the stride."""

    fused: bool
    expansion: int
    size: int
    stride: int
    filters: int
    repeats: int


_B = (
    Stage(False, 1, 3, 1, 16, 1),
    Stage(False, 6, 3, 2, 24, 2),
    Stage(False, 6, 5, 2, 40, 2),
    Stage(False, 6, 3, 2, 80, 3),
    Stage(False, 6, 5, 1, 112, 3),
    Stage(False, 6, 5, 2, 192, 4),
    Stage(False, 6, 3, 1, 320, 1),
)
_V2_S = (
    Stage(True, 1, 3, 1, 24, 2),
    Stage(True, 4, 3, 2, 48, 4),
    Stage(True, 4, 3, 2, 64, 4),
    Stage(False, 4, 3, 2, 128, 6),
    Stage(False, 6, 3, 1, 160, 9),
    Stage(False, 6, 3, 2, 256, 15),
)
_V2_M = (
    Stage(True, 1, 3, 1, 24, 3),
    Stage(True, 4, 3, 2, 48, 5),
    Stage(True, 4, 3, 2, 80, 5),
    Stage(False, 4, 3, 2, 160, 7),
    Stage(False, 6, 3, 1, 176, 14),
    Stage(False, 6, 3, 2, 304, 18),
    Stage(False, 6, 3, 1, 512, 5),
)


class Variant(NamedTuple):
    """A size, in one form.

    Attributes:
      stages: Before they are scaled.
      width: Factor on channels.
      depth: Factor on repeats.
      input_size: Pixels a side that weights are published for.
      crop: Share of the shorter side that timm or torchvision keep.
      v2: Whether it is of the second version.
      tf: Whether it is Google's own form.
    """

    stages: tuple[Stage, ...]
    width: float
    depth: float
    input_size: int
    crop: float
    v2: bool
    tf: bool


# (width, depth, input size, crop of timm's weights) of B0 to B7; table 1 of the paper
# has them for B0 alone, the published code for all.
_SCALES = (
    (1.0, 1.0, 224, 0.875),
    (1.0, 1.1, 240, 0.882),
    (1.1, 1.2, 260, 0.890),
    (1.2, 1.4, 300, 0.904),
    (1.4, 1.8, 380, 0.922),
    (1.6, 2.2, 456, 0.934),
    (1.8, 2.6, 528, 0.942),
    (2.0, 3.1, 600, 0.949),
)
VARIANTS = {
    **{
        f"{'tf_' if tf else ''}efficientnet_b{i}": Variant(_B, *scale, v2=False, tf=tf)
        for tf in (False, True)
        for i, scale in enumerate(_SCALES)
    },
    "efficientnet_v2_s": Variant(_V2_S, 1.0, 1.0, 384, 1.0, v2=True, tf=False),
    "efficientnet_v2_m": Variant(_V2_M, 1.0, 1.0, 480, 1.0, v2=True, tf=False),
    "tf_efficientnetv2_s": Variant(_V2_S, 1.0, 1.0, 384, 1.0, v2=True, tf=True),
    "tf_efficientnetv2_m": Variant(_V2_M, 1.0, 1.0, 480, 1.0, v2=True, tf=True),
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns an EfficientNet.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    variant = VARIANTS[name]
    filled = fill_settings(name, settings, {"input_size": variant.input_size})
    size = check_input_size(name, filled["input_size"], least=MIN_INPUT)
    spec = _make_spec(variant)
    rules = {TIMM: tuple(timm_rules(spec))}
    if variant.tf:
        rules[KERAS] = tuple(_keras_rules(spec, variant))
    else:
        rules[TORCHVISION] = tuple(torchvision_rules(spec, staged=True))
    return Architecture(
        name=name,
        settings=filled,
        preprocess=_make_preprocess(variant, size),
        preprocesses={KERAS: _keras_preprocess(variant, size)} if variant.tf else {},
        classes=CLASSES,
        make_network=lambda classes: MobileNetwork(spec, classes),
        key_rules=rules,
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _make_spec(variant: Variant) -> NetworkSpec:
    channels = stem = 24 if variant.v2 else round_channels(32 * variant.width)
    stages = []
    for stage in variant.stages:
        blocks = []
        for i in range(math.ceil(stage.repeats * variant.depth)):
            hidden = channels * stage.expansion
            outputs = round_channels(stage.filters * variant.width)
            kind = (
                (PLAIN if stage.expansion == 1 else FUSED)
                if stage.fused
                else (SEPARABLE if stage.expansion == 1 else INVERTED)
            )
            blocks.append(
                BlockSpec(
                    kind=kind,
                    inputs=channels,
                    hidden=outputs if kind == PLAIN else hidden,
                    outputs=outputs,
                    size=stage.size,
                    stride=1 if i else stage.stride,
                    squeezed=0 if stage.fused else max(1, channels // 4),
                    activation="silu",
                )
            )
            channels = outputs
        stages.append(tuple(blocks))
    return NetworkSpec(
        stem=stem,
        stages=tuple(stages),
        head=round_channels(1280 * variant.width),
        hidden=0,
        activation="silu",
        squeeze="silu",
        gate="sigmoid",
        epsilon=1e-3 if variant.tf or variant.v2 else 1e-5,
        same=variant.tf,
    )


def _make_preprocess(variant: Variant, size: int) -> ImagePreprocess:
    if variant.v2 and variant.tf:
        return center_crop(size, share=1.0, interpolation="bicubic", colors=HALVES)
    kind = "bilinear" if variant.v2 else "bicubic"
    return center_crop(size, share=variant.crop, interpolation=kind)


def _keras_preprocess(variant: Variant, size: int) -> ImagePreprocess:
    # Its first layers; the second version's divide by 128, not by 127.5.
    return keras_crop("tf-128" if variant.v2 else "torch", size)


def _keras_rules(spec: NetworkSpec, variant: Variant) -> Iterator[Rule]:
    # The mean and variance of the input, which the preprocessing has.
    for leaf in ("mean", "variance", "count"):
        yield f"normalization/{leaf}", UNUSED, "same"
    yield from keras_conv_norm("stem_conv", "stem_bn", "stem")
    depthwise = "dwconv2" if variant.v2 else "dwconv"
    for stage, blocks in enumerate(spec.stages):
        for i, block in enumerate(blocks):
            theirs = f"block{stage + 1}{chr(ord('a') + i)}"
            ours = f"stages.{stage}.{i}"
            if block.kind in (INVERTED, FUSED):
                yield from keras_conv_norm(
                    f"{theirs}_expand_conv", f"{theirs}_expand_bn", f"{ours}.expand"
                )
            if block.kind in (INVERTED, SEPARABLE):
                yield from keras_conv_norm(
                    f"{theirs}_{depthwise}",
                    f"{theirs}_bn",
                    f"{ours}.depthwise",
                    "depthwise",
                )
            if block.squeezed:
                for part in ("reduce", "expand"):
                    yield from keras_layer(
                        f"{theirs}_se_{part}", f"{ours}.excite.{part}", "pixel"
                    )
            yield from keras_conv_norm(
                f"{theirs}_project_conv",
                f"{theirs}_project_bn",
                f"{ours}.{'expand' if block.kind == PLAIN else 'project'}",
            )
    yield from keras_conv_norm("top_conv", "top_bn", "head_conv")
    yield from keras_layer("predictions", "classifier")
