"""CLIP's image tower, as OpenAI, OpenCLIP and Hugging Face transformers publish it.

Outputs: `embed`, `block0` and so on, `patches`, `cls` and `pool` (the class token after
the last norm, transformers' `pooler_output`), and `embedding`: its projection into the
space of texts, not yet scaled to length 1. There is no classifier. A file's text tower
is left out. In `patches` the last norm is applied, which CLIP itself never needs:
transformers' `last_hidden_state` is the last block's output.

Weights trained with another activation than OpenAI's (OpenCLIP's on LAION) need
`quick_gelu = false`. Other input sizes interpolate the positions antialiased, as
OpenCLIP and timm do.

Reference:
  Radford et al. 2021, https://arxiv.org/abs/2103.00020
"""

from collections.abc import Iterator, Mapping

from tl_pipeline.backbones.architecture import Architecture, Rule, fill_settings
from tl_pipeline.backbones.crops import CLIP, center_crop
from tl_pipeline.backbones.published import list_checkpoints, say_how_to_get
from tl_pipeline.backbones.vision_layouts import dense_rules, norm_rules
from tl_pipeline.backbones.vision_transformer import (
    Shape,
    VisionTransformer,
    check_input_size,
)
from tl_pipeline.digest import Json

_SIZE = 224


def _shape(width: int, depth: int, patch: int, embedding: int) -> Shape:
    return Shape(
        width,
        depth,
        heads=width // 64,
        patch=patch,
        grid=_SIZE // patch,
        epsilon=1e-5,
        pre_norm=True,
        quick_gelu=True,
        embedding=embedding,
    )


VARIANTS = {
    "clip_base_patch32": _shape(768, 12, 32, 512),
    "clip_base_patch16": _shape(768, 12, 16, 512),
    "clip_large_patch14": _shape(1024, 24, 14, 768),
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant at an input size.

    Args:
      name: One of `VARIANTS`.
      settings: `input_size`, pixels a side, a multiple of the patch; `quick_gelu`,
        whether the activation is OpenAI's.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    shape = VARIANTS[name]
    defaults = {"input_size": _SIZE, "quick_gelu": True}
    filled = fill_settings(name, settings, defaults)
    size = check_input_size(name, filled["input_size"], shape.patch)
    shape = shape._replace(quick_gelu=bool(filled["quick_gelu"]))
    return Architecture(
        name=name,
        settings=filled,
        preprocess=center_crop(size, share=1.0, colors=CLIP, interpolation="bicubic"),
        classes=None,
        make_network=lambda classes: VisionTransformer(shape, None),
        key_rules={
            "transformers": tuple(_transformers_rules(shape)),
            "openai": tuple(_openai_rules(shape)),
        },
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
    )


def _transformers_rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `CLIPModel` and `CLIPVisionModelWithProjection`."""
    tower = "vision_model"
    yield f"{tower}.embeddings.class_embedding", "cls_token", "rows"
    yield f"{tower}.embeddings.position_embedding.weight", "positions", "same"
    yield f"{tower}.embeddings.patch_embedding.weight", "patch_embed.kernel", "torch"
    yield from norm_rules(f"{tower}.pre_layrnorm", "pre_norm")  # as they spell it
    yield from norm_rules(f"{tower}.post_layernorm", "norm")
    yield "visual_projection.weight", "projection.kernel", "torch"
    for i in range(shape.depth):
        layer, block = f"{tower}.encoder.layers.{i}", f"blocks.{i}"
        for k in (1, 2):
            yield from norm_rules(f"{layer}.layer_norm{k}", f"{block}.norm{k}")
        for leaf, target in (("weight", "kernel"), ("bias", "bias")):
            yield (
                tuple(f"{layer}.self_attn.{part}_proj.{leaf}" for part in "qkv"),
                f"{block}.attention.qkv.{target}",
                "torch",
            )
        yield from dense_rules(f"{layer}.self_attn.out_proj", f"{block}.attention.out")
        yield from dense_rules(f"{layer}.mlp.fc1", f"{block}.mlp.up")
        yield from dense_rules(f"{layer}.mlp.fc2", f"{block}.mlp.down")
    # Numbers of the positions, the text tower, and the scale of similarities.
    for name in (
        f"{tower}.embeddings.position_ids",
        "text_model.*",
        "text_projection.weight",
        "logit_scale",
    ):
        yield name, "", "same"


def _openai_rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of OpenAI's and OpenCLIP's state."""
    yield "visual.class_embedding", "cls_token", "rows"
    yield "visual.positional_embedding", "positions", "same"
    yield "visual.conv1.weight", "patch_embed.kernel", "torch"
    yield from norm_rules("visual.ln_pre", "pre_norm")
    yield from norm_rules("visual.ln_post", "norm")
    yield "visual.proj", "projection.kernel", "same"
    for i in range(shape.depth):
        layer, block = f"visual.transformer.resblocks.{i}", f"blocks.{i}"
        for k in (1, 2):
            yield from norm_rules(f"{layer}.ln_{k}", f"{block}.norm{k}")
        yield f"{layer}.attn.in_proj_weight", f"{block}.attention.qkv.kernel", "torch"
        yield f"{layer}.attn.in_proj_bias", f"{block}.attention.qkv.bias", "same"
        yield from dense_rules(f"{layer}.attn.out_proj", f"{block}.attention.out")
        yield from dense_rules(f"{layer}.mlp.c_fc", f"{block}.mlp.up")
        yield from dense_rules(f"{layer}.mlp.c_proj", f"{block}.mlp.down")
    for name in (
        "transformer.*",
        "token_embedding.weight",
        "positional_embedding",
        "ln_final.*",
        "text_projection",
        "logit_scale",
        # Numbers that OpenAI's archives hold beside the tensors.
        "input_resolution",
        "context_length",
        "vocab_size",
    ):
        yield name, "", "same"
