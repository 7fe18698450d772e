"""Where networks of inverted residual blocks are in timm's and torchvision's files."""

from collections.abc import Iterator

from tl_pipeline.backbones.architecture import Rule
from tl_pipeline.backbones.inverted_residual import (
    FUSED,
    INVERTED,
    PLAIN,
    SEPARABLE,
    BlockSpec,
    NetworkSpec,
)
from tl_pipeline.backbones.layouts import torch_conv_norm, torch_layer

# timm's convolutions in a block, with ours; their norms are bn1, bn2, ...
_TIMM_PARTS = {
    SEPARABLE: (("conv_dw", "depthwise"), ("conv_pw", "project")),
    INVERTED: (
        ("conv_pw", "expand"),
        ("conv_dw", "depthwise"),
        ("conv_pwl", "project"),
    ),
    FUSED: (("conv_exp", "expand"), ("conv_pwl", "project")),
    PLAIN: (("conv", "expand"),),
}


def timm_rules(spec: NetworkSpec) -> Iterator[Rule]:
    """Yields timm's names: its EfficientNet's or, if it has a hidden layer, V3's."""
    yield from torch_conv_norm("conv_stem", "bn1", "stem")
    for stage, blocks in enumerate(spec.stages):
        for i, block in enumerate(blocks):
            theirs, ours = f"blocks.{stage}.{i}", f"stages.{stage}.{i}"
            for n, (conv, part) in enumerate(_TIMM_PARTS[block.kind], start=1):
                yield from torch_conv_norm(
                    f"{theirs}.{conv}", f"{theirs}.bn{n}", f"{ours}.{part}"
                )
            if block.squeezed:
                yield from _excite_rules(
                    f"{theirs}.se.conv_reduce", f"{theirs}.se.conv_expand", ours
                )
    if spec.hidden:
        last = f"blocks.{len(spec.stages)}.0"
        yield from torch_conv_norm(f"{last}.conv", f"{last}.bn1", "head_conv")
        yield from torch_layer("conv_head", "classifier.hidden", "torch-pixel")
    else:
        yield from torch_conv_norm("conv_head", "bn2", "head_conv")
    yield from torch_layer("classifier", "classifier")


def torchvision_rules(
    spec: NetworkSpec, *, staged: bool, body: str = "block"
) -> Iterator[Rule]:
    """Yields torchvision's names.

    Args:
      spec: The network.
      staged: Whether blocks are numbered within their stage (EfficientNet), or all in
        one sequence (MobileNet).
      body: The name of a block's sequence of layers.
    """
    yield from torch_conv_norm("features.0.0", "features.0.1", "stem")
    number = 1
    for stage, blocks in enumerate(spec.stages):
        for i, block in enumerate(blocks):
            place = f"{stage + 1}.{i}" if staged else str(number)
            yield from _torchvision_block(
                f"features.{place}.{body}",
                f"stages.{stage}.{i}",
                block,
                nested_last=body == "block",
            )
            number += 1
    last = len(spec.stages) + 1 if staged else number
    yield from torch_conv_norm(f"features.{last}.0", f"features.{last}.1", "head_conv")
    if spec.hidden:
        yield from torch_layer("classifier.0", "classifier.hidden")
        yield from torch_layer("classifier.3", "classifier")
    else:
        yield from torch_layer("classifier.1", "classifier")


def _torchvision_block(
    theirs: str, ours: str, block: BlockSpec, *, nested_last: bool
) -> Iterator[Rule]:
    parts = [part for _, part in _TIMM_PARTS[block.kind]]
    index = 0
    for part in parts:
        if part == "project" and block.squeezed:
            yield from _excite_rules(
                f"{theirs}.{index}.fc1", f"{theirs}.{index}.fc2", ours
            )
            index += 1
        conv, norm = f"{theirs}.{index}.0", f"{theirs}.{index}.1"
        if part == "project" and not nested_last:
            conv, norm = f"{theirs}.{index}", f"{theirs}.{index + 1}"
        yield from torch_conv_norm(conv, norm, f"{ours}.{part}")
        index += 1


def _excite_rules(reduce: str, expand: str, block: str) -> Iterator[Rule]:
    yield from torch_layer(reduce, f"{block}.excite.reduce", "torch-pixel")
    yield from torch_layer(expand, f"{block}.excite.expand", "torch-pixel")
