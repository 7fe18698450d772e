"""CLIP's text tower, as OpenAI, OpenCLIP and Hugging Face transformers publish it.

Outputs: `layer0` and so on, the last one after the last norm; `pooler`, its token at a
text's end; and `embedding`, the projection of that into the space of images, not yet
scaled to length 1. A file's image tower is left out.

Reference:
  Radford et al. 2021, https://arxiv.org/abs/2103.00020
"""

from collections.abc import Iterator, Mapping

from tl_pipeline.backbones.architecture import Architecture, Rule
from tl_pipeline.backbones.text_architecture import make_text_architecture
from tl_pipeline.backbones.text_layouts import (
    dense_rules,
    joined_rules,
    norm_rules,
    unused_rules,
)
from tl_pipeline.backbones.text_transformer import Shape
from tl_pipeline.digest import Json


def _shape(width: int) -> Shape:
    return Shape(
        width,
        depth=12,
        heads=width // 64,
        vocabulary=49408,
        positions=77,
        epsilon=1e-5,
        activation="quick_gelu",
        pre_norm=True,
        causal=True,
        pooler="end",
        embedding=width,
    )


VARIANTS = {
    "clip_text_base_patch32": _shape(512),
    "clip_text_base_patch16": _shape(512),
    "clip_text_large_patch14": _shape(768),
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant; settings as of `make_text_architecture`.

    Args:
      name: One of `VARIANTS`, called as the image tower that it was trained with.
      settings: What differs from its own.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    return make_text_architecture(
        name,
        VARIANTS[name],
        settings,
        tokenizer="clip",
        make_rules=lambda shape: {
            "transformers": tuple(_transformers_rules(shape)),
            "openai": tuple(_openai_rules(shape)),
        },
        make_facts=_list_facts,
    )


def _list_facts(shape: Shape) -> dict[str, Json]:
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "hidden_act": shape.activation,
        "layer_norm_eps": shape.epsilon,
    }


def _transformers_rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `CLIPModel` and `CLIPTextModelWithProjection`."""
    tower = "text_model"
    yield f"{tower}.embeddings.token_embedding.weight", "words.embedding", "same"
    yield f"{tower}.embeddings.position_embedding.weight", "positions.embedding", "same"
    yield from norm_rules(f"{tower}.final_layer_norm", "norm")
    yield "text_projection.weight", "projection.kernel", "torch"
    for i in range(shape.depth):
        layer, block = f"{tower}.encoder.layers.{i}", f"blocks.{i}"
        yield from joined_rules(
            tuple(f"{layer}.self_attn.{part}_proj" for part in "qkv"),
            f"{block}.attention.qkv",
        )
        yield from dense_rules(f"{layer}.self_attn.out_proj", f"{block}.attention.out")
        yield from dense_rules(f"{layer}.mlp.fc1", f"{block}.mlp.up")
        yield from dense_rules(f"{layer}.mlp.fc2", f"{block}.mlp.down")
        for k in (1, 2):
            yield from norm_rules(f"{layer}.layer_norm{k}", f"{block}.norm{k}")
    yield from unused_rules(f"{tower}.embeddings.position_ids")
    yield from unused_rules("vision_model.*", "visual_projection.weight", "logit_scale")


def _openai_rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of OpenAI's and OpenCLIP's state."""
    yield "token_embedding.weight", "words.embedding", "same"
    yield "positional_embedding", "positions.embedding", "same"
    yield from norm_rules("ln_final", "norm")
    yield "text_projection", "projection.kernel", "same"
    for i in range(shape.depth):
        layer, block = f"transformer.resblocks.{i}", f"blocks.{i}"
        yield f"{layer}.attn.in_proj_weight", f"{block}.attention.qkv.kernel", "torch"
        yield f"{layer}.attn.in_proj_bias", f"{block}.attention.qkv.bias", "same"
        yield from dense_rules(f"{layer}.attn.out_proj", f"{block}.attention.out")
        yield from dense_rules(f"{layer}.mlp.c_fc", f"{block}.mlp.up")
        yield from dense_rules(f"{layer}.mlp.c_proj", f"{block}.mlp.down")
        for k in (1, 2):
            yield from norm_rules(f"{layer}.ln_{k}", f"{block}.norm{k}")
    yield from unused_rules("visual.*", "logit_scale")
    # Numbers that OpenAI's archives hold beside the tensors.
    yield from unused_rules("input_resolution", "context_length", "vocab_size")
