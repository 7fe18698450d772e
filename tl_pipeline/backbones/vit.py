"""ViT and DeiT, as google, timm and Hugging Face transformers publish them.

Outputs: `embed`, `block0` and so on, `patches`, `cls`, `pool` (what the classifier
takes: the class token after the last norm; of distilled DeiT the mean of both class
tokens), and `logits` with a classifier; `vision_transformer` says each one's shape.

Other input sizes interpolate the positions as timm does. The epsilon is google's 1e-6
for all; transformers computes with 1e-12, which differs where tokens have next to no
variance, and its `pooler_output` is not `pool` but a dense layer more.

References:
  Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929
  Steiner et al. 2021 (augreg), https://arxiv.org/abs/2106.10270
  Touvron et al. 2020 (DeiT), https://arxiv.org/abs/2012.12877
"""

from collections.abc import Mapping
from typing import NamedTuple

from tl_pipeline.backbones.architecture import Architecture, fill_settings
from tl_pipeline.backbones.crops import HALVES, IMAGENET, center_crop, whole_image
from tl_pipeline.backbones.published import CLASSES, list_checkpoints, say_how_to_get
from tl_pipeline.backbones.vision_layouts import (
    google_rules,
    timm_rules,
    transformers_rules,
)
from tl_pipeline.backbones.vision_transformer import (
    Shape,
    VisionTransformer,
    check_input_size,
)
from tl_pipeline.digest import Json


class Variant(NamedTuple):
    """A row of the table.

    Attributes:
      shape: Of the network.
      size: Pixels a side that the positions were learned at.
    """

    shape: Shape
    size: int = 224


_TINY, _SMALL, _BASE, _LARGE = (
    Shape(192, 12, 3, 16, 14),
    Shape(384, 12, 6, 16, 14),
    Shape(768, 12, 12, 16, 14),
    Shape(1024, 24, 16, 16, 14),
)

VARIANTS: dict[str, Variant] = {
    "vit_tiny_patch16": Variant(_TINY),
    "vit_small_patch16": Variant(_SMALL),
    "vit_small_patch32": Variant(_SMALL._replace(patch=32, grid=7)),
    "vit_base_patch16": Variant(_BASE),
    "vit_base_patch32": Variant(_BASE._replace(patch=32, grid=7)),
    "vit_base_patch8": Variant(_BASE._replace(patch=8, grid=28)),
    "vit_large_patch16": Variant(_LARGE),
    "vit_small_patch16_384": Variant(_SMALL._replace(grid=24), 384),
    "vit_base_patch16_384": Variant(_BASE._replace(grid=24), 384),
    "vit_base_patch32_384": Variant(_BASE._replace(patch=32, grid=12), 384),
    "vit_large_patch16_384": Variant(_LARGE._replace(grid=24), 384),
    "vit_large_patch32_384": Variant(_LARGE._replace(patch=32, grid=12), 384),
    **{
        f"deit_{size}{distilled}_patch16": Variant(
            shape._replace(distilled=bool(distilled))
        )
        for distilled in ("", "_distilled")
        for size, shape in (("tiny", _TINY), ("small", _SMALL), ("base", _BASE))
    },
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant at an input size.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side, a multiple of the patch.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    variant = VARIANTS[name]
    shape = variant.shape
    filled = fill_settings(name, settings, {"input_size": variant.size})
    size = check_input_size(name, filled["input_size"], shape.patch)
    deit = name.startswith("deit")
    prefix = "deit." if shape.distilled else "vit."
    rules = {
        "timm": tuple(timm_rules(shape)),
        "transformers": tuple(transformers_rules(shape, prefixes=(prefix, ""))),
    }
    # timm's share at the size of the table's weights, all of the image above it.
    share = 0.9 if size <= 224 else 1.0
    preprocess = center_crop(
        size,
        share=share,
        colors=IMAGENET if deit else HALVES,
        interpolation="bicubic",
    )
    if deit:
        # As its authors evaluate it: transformers' files are theirs.
        crop = center_crop(size, interpolation="bicubic")
        preprocesses = {"transformers": crop}
    else:
        rules["google-npz"] = tuple(google_rules(shape))
        whole = whole_image(size, colors=HALVES)
        preprocesses = {"transformers": whole, "google-npz": whole}
    return Architecture(
        name=name,
        settings=filled,
        preprocess=preprocess,
        preprocesses=preprocesses,
        classes=CLASSES,
        make_network=lambda classes: VisionTransformer(shape, classes),
        key_rules=rules,
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )
