"""ConvNeXt, as facebook trained it: timm's, torchvision's and transformers' files.

Outputs: `stem`, `stage1` to `stage4`, `pool` (the mean over pixels after the last norm,
which the classifier takes), and `logits` with a classifier.

transformers computes the last norm with an epsilon of 1e-12, all others with 1e-6.

Reference:
  Liu et al. 2022, https://arxiv.org/abs/2201.03545
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tl_pipeline.backbones.architecture import Architecture, Rule, fill_settings
from tl_pipeline.backbones.attention import LayerNorm, LayerScale, Mlp, PatchEmbed
from tl_pipeline.backbones.crops import center_crop
from tl_pipeline.backbones.layers import Bias, Conv, Linear
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.backbones.vision_layouts import dense_rules, norm_rules
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError

MIN_INPUT = 32  # a stem of 4 and three halvings
_EPSILON = 1e-6


class Variant(NamedTuple):
    """A row of the table.

    Attributes:
      depths: Blocks of each stage.
      widths: Channels of each stage.
      resize: Pixels of the shorter side before torchvision's crop of 224.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    resize: int


VARIANTS: dict[str, Variant] = {
    "convnext_tiny": Variant((3, 3, 9, 3), (96, 192, 384, 768), 236),
    "convnext_small": Variant((3, 3, 27, 3), (96, 192, 384, 768), 230),
    "convnext_base": Variant((3, 3, 27, 3), (128, 256, 512, 1024), 232),
}


class Block(nnx.Module):
    """Filter each channel by 7×7 pixels, then dense layers on each pixel."""

    def __init__(self, width: int):
        """Makes the block."""
        self.filter = Conv(width, width, size=7, groups=width)
        self.filter_bias = Bias(width)
        self.norm = LayerNorm(width, epsilon=_EPSILON)
        self.mlp = Mlp(width, 4 * width)
        self.scale = LayerScale(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, D] to [B, H, W, D]."""
        branch = self.norm(self.filter_bias(self.filter(x)))
        return x + self.scale(self.mlp(branch))


class Stage(nnx.Module):
    """Halves the image, unless it is the first stage, then runs its blocks."""

    def __init__(self, in_width: int, width: int, depth: int):
        """Makes the stage."""
        first = in_width == width
        self.norm = None if first else LayerNorm(in_width, epsilon=_EPSILON)
        self.halve = None if first else PatchEmbed(width, patch=2, channels=in_width)
        self.blocks = nnx.List([Block(width) for _ in range(depth)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, D], or half of H and W."""
        if self.norm is not None and self.halve is not None:
            x = self.halve(self.norm(x))
        for block in self.blocks:
            x = block(x)
        return x


class ConvNeXt(nnx.Module):
    """The network, on color images of any size from 32×32."""

    def __init__(self, variant: Variant, classes: int | None):
        """Makes the network, with a classifier if `classes` says so."""
        widths = (variant.widths[0], *variant.widths)
        self.stem = PatchEmbed(widths[0], patch=4)
        self.stem_norm = LayerNorm(widths[0], epsilon=_EPSILON)
        self.stages = nnx.List(map(Stage, widths, variant.widths, variant.depths))
        self.norm = LayerNorm(widths[-1], epsilon=_EPSILON)
        self.classifier = None if classes is None else Linear(widths[-1], classes)

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns every output of [B, H, W, 3] by name, in order."""
        x = self.stem_norm(self.stem(x))
        outputs = {"stem": x}
        for i, stage in enumerate(self.stages, start=1):
            x = outputs[f"stage{i}"] = stage(x)
        mean = jnp.mean(x, axis=(1, 2), dtype=jnp.float32)
        outputs["pool"] = self.norm(mean)
        if self.classifier is not None:
            # Back in the compute dtype, which the mean left for its many terms.
            outputs["logits"] = self.classifier(outputs["pool"].astype(x.dtype))
        return outputs


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant at an input size.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    variant = VARIANTS[name]
    filled = fill_settings(name, settings, {"input_size": 224})
    size = filled["input_size"]
    if not (isinstance(size, int) and MIN_INPUT <= size <= 2048):
        raise BackboneError(
            f"Asked for {name} with input_size = {size}; it takes {MIN_INPUT} to 2048."
        )
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size, interpolation="bicubic"),
        preprocesses={"torchvision": center_crop(size, share=224 / variant.resize)},
        classes=CLASSES,
        make_network=lambda classes: ConvNeXt(variant, classes),
        key_rules={
            "timm": tuple(_timm_rules(variant)),
            "torchvision": tuple(_torchvision_rules(variant)),
            "transformers": tuple(_transformers_rules(variant)),
        },
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _block_rules(
    block: str, target: str, names: tuple[str, str, str, str, str]
) -> Iterator[Rule]:
    """Yields a block's rules, by its names of filter, norm, layers and scale."""
    filter, norm, up, down, scale = (f"{block}.{name}" for name in names)
    yield f"{filter}.weight", f"{target}.filter.kernel", "torch"
    yield f"{filter}.bias", f"{target}.filter_bias.bias", "same"
    yield from norm_rules(norm, f"{target}.norm")
    yield from dense_rules(up, f"{target}.mlp.up")
    yield from dense_rules(down, f"{target}.mlp.down")
    yield scale, f"{target}.scale.scale", "flat"


def _timm_rules(variant: Variant) -> Iterator[Rule]:
    names = ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma")
    yield from dense_rules("stem.0", "stem")
    yield from norm_rules("stem.1", "stem_norm")
    for i, depth in enumerate(variant.depths):
        if i:
            yield from norm_rules(f"stages.{i}.downsample.0", f"stages.{i}.norm")
            yield from dense_rules(f"stages.{i}.downsample.1", f"stages.{i}.halve")
        for j in range(depth):
            block = f"stages.{i}.blocks.{j}"
            yield from _block_rules(block, block, names)
    yield from norm_rules("head.norm", "norm")
    yield from dense_rules("head.fc", "classifier")


def _torchvision_rules(variant: Variant) -> Iterator[Rule]:
    names = ("block.0", "block.2", "block.3", "block.5", "layer_scale")
    yield from dense_rules("features.0.0", "stem")
    yield from norm_rules("features.0.1", "stem_norm")
    for i, depth in enumerate(variant.depths):
        if i:
            yield from norm_rules(f"features.{2 * i}.0", f"stages.{i}.norm")
            yield from dense_rules(f"features.{2 * i}.1", f"stages.{i}.halve")
        for j in range(depth):
            block = f"features.{2 * i + 1}.{j}"
            yield from _block_rules(block, f"stages.{i}.blocks.{j}", names)
    yield from norm_rules("classifier.0", "norm")
    yield from dense_rules("classifier.2", "classifier")


def _transformers_rules(variant: Variant) -> Iterator[Rule]:
    names = ("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter")
    for prefix in ("convnext.", ""):  # with a classifier, and the trunk alone
        embeddings = f"{prefix}embeddings"
        yield from dense_rules(f"{embeddings}.patch_embeddings", "stem")
        yield from norm_rules(f"{embeddings}.layernorm", "stem_norm")
        for i, depth in enumerate(variant.depths):
            stage = f"{prefix}encoder.stages.{i}"
            if i:
                halving = f"{stage}.downsampling_layer"
                yield from norm_rules(f"{halving}.0", f"stages.{i}.norm")
                yield from dense_rules(f"{halving}.1", f"stages.{i}.halve")
            for j in range(depth):
                target = f"stages.{i}.blocks.{j}"
                yield from _block_rules(f"{stage}.layers.{j}", target, names)
        yield from norm_rules(f"{prefix}layernorm", "norm")
    yield from dense_rules("classifier", "classifier")
