"""Makes clip.json: outputs of transformers' and timm's image towers of CLIP.

    python tests/backbones/golden/make_clip.py

OpenAI's files are read by timm's conversion.
Made with torch 2.13.0, timm 1.0.31, transformers 5.23.0.
"""

from functools import partial
from pathlib import Path

import torch
from make_vit import TINY, TINY_CONFIG, VisionTransformer, run_timm
from seeded import fold_names, write_golden
from torch import nn
from torch_oracles import (
    load_published,
    published_shapes,
    run_case,
    state_shapes,
    timm,
    transformers,
)

COLORS = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
# Model of timm's, and transformers' width, heads, depth, patch and projection.
PUBLISHED = {
    "clip_base_patch32": ("vit_base_patch32_clip_quickgelu_224", 768, 12, 12, 32, 512),
    "clip_base_patch16": ("vit_base_patch16_clip_quickgelu_224", 768, 12, 12, 16, 512),
    "clip_large_patch14": (
        "vit_large_patch14_clip_quickgelu_224",
        *(1024, 16, 24, 14, 768),
    ),
}
# A text tower of the smallest kind, and what else OpenAI's and OpenCLIP's files hold.
TEXT = {
    "transformer.resblocks.0.ln_1.weight": (8,),
    "token_embedding.weight": (9, 8),
    "positional_embedding": (5, 8),
    "ln_final.weight": (8,),
    "text_projection": (8, 24),
    "logit_scale": (),
}


def make_timm(activation=timm.layers.QuickGELU, **more):
    """Returns timm's small model, as its CLIP rows make the large ones."""
    return VisionTransformer(
        **{**TINY, "num_classes": 24, **more},
        pre_norm=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        act_layer=activation,
    )


def openai_shapes(model) -> dict:
    """Returns the names and shapes of OpenAI's image tower for a timm model."""
    shapes = {}
    for name, shape in state_shapes(model).items():
        for theirs, ours in (
            ("patch_embed.proj", "conv1"),
            ("norm_pre", "ln_pre"),
            ("blocks.", "transformer.resblocks."),
            (".norm", ".ln_"),
            ("attn.qkv.", "attn.in_proj_"),
            ("attn.proj", "attn.out_proj"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("pos_embed", "positional_embedding"),
            ("cls_token", "class_embedding"),
        ):
            name = name.replace(theirs, ours)
        if name.startswith("norm."):
            name = name.replace("norm.", "ln_post.")
        if name == "class_embedding":
            shape = shape[-1:]
        if name == "positional_embedding":
            shape = shape[1:]
        if name == "head.weight":
            name, shape = "proj", shape[::-1]
        if name != "head.bias":
            shapes[f"visual.{name}"] = shape
    return shapes


def load_openai(model):
    """Returns the loader of OpenAI's files into a timm model."""

    def load(arrays):
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        convert = timm.models.vision_transformer.checkpoint_filter_fn
        model.load_state_dict(convert(state, model))

        def run(images):
            outputs = run_timm(model.eval(), images)
            outputs["embedding"] = outputs.pop("logits")
            return outputs

        return run

    return load


def load_transformers(model):
    """Returns the loader of a transformers model."""

    def load(arrays):
        loaded = load_published(model, arrays)

        def run(images):
            tower = loaded.vision_model
            hidden = tower(images, output_hidden_states=True)
            norm = getattr(tower, "post_layernorm", None)
            normed = norm(hidden.last_hidden_state)
            states = hidden.hidden_states
            return {
                "embed": states[0],
                "block0": states[1],
                f"block{len(states) - 2}": states[-1],
                "patches": normed[:, 1:],
                "cls": normed[:, 0],
                "pool": hidden.pooler_output,
                "embedding": loaded.visual_projection(hidden.pooler_output),
            }

        return run

    return load


def make_cases():
    """Returns the cases by name."""
    cases = {}
    shared = {"colors": COLORS, "small": 0.03}
    for name, activation, size in (
        ("openai", timm.layers.QuickGELU, 32),
        ("openai at 24", timm.layers.QuickGELU, 24),
        ("openclip", nn.GELU, 32),
    ):
        shapes = openai_shapes(make_timm(activation)) | TEXT
        cases[name] = run_case(
            shapes,
            load_openai(make_timm(activation, img_size=size)),
            size=size,
            facts={"row": "tiny", "quick_gelu": activation is not nn.GELU},
            **shared,
        )
    tower = {**TINY_CONFIG, "projection_dim": 24}
    text = {
        "vocab_size": 9,
        "hidden_size": 16,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 5,
    }
    for name, model in (
        (
            "CLIPVisionModelWithProjection",
            transformers.CLIPVisionModelWithProjection(
                transformers.CLIPVisionConfig(**tower)
            ),
        ),
        (
            "CLIPModel",
            transformers.CLIPModel(
                transformers.CLIPConfig(
                    text_config=text, vision_config=tower, projection_dim=24
                )
            ),
        ),
    ):
        cases[name] = run_case(
            published_shapes(model),
            load_transformers(model),
            size=32,
            facts={"row": "tiny", "quick_gelu": True},
            **shared,
        )
    model = timm.create_model("vit_base_patch32_clip_quickgelu_224", num_classes=512)
    cases["whole"] = run_case(
        openai_shapes(model),
        load_openai(model),
        size=224,
        facts={"row": "clip_base_patch32", "quick_gelu": True},
        **shared,
    )
    return cases


def make_names():
    """Returns the names and shapes of the published variants' image towers."""
    names = {}
    for name, (theirs, width, heads, depth, patch, projection) in PUBLISHED.items():
        with torch.device("meta"):
            model = timm.create_model(theirs, num_classes=projection)
        names[f"openai {name}"] = fold_names(openai_shapes(model))
        config = transformers.CLIPVisionConfig(
            image_size=224,
            patch_size=patch,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=1,
            num_attention_heads=heads,
            projection_dim=projection,
        )
        shapes = published_shapes(transformers.CLIPVisionModelWithProjection(config))
        for one in [one for one in shapes if ".layers.0." in one]:
            for i in range(1, depth):  # all layers are like the first one
                shapes[one.replace(".layers.0.", f".layers.{i}.")] = shapes[one]
        names[f"transformers {name}"] = fold_names(shapes)
    return names


if __name__ == "__main__":
    write_golden(
        Path(__file__).with_name("clip.json"),
        {"names": make_names(), "cases": make_cases()},
    )
