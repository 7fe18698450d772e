"""Makes vit.json: outputs of timm's and transformers' ViT and DeiT.

    python tests/backbones/golden/make_vit.py

Made with torch 2.13.0, timm 1.0.31, transformers 5.23.0.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from seeded import fold_names, write_golden
from torch_oracles import (
    load_published,
    load_state,
    published_shapes,
    run_case,
    state_shapes,
    timm,
    transformers,
)

VisionTransformer = timm.models.vision_transformer.VisionTransformer
VisionTransformerDistilled = timm.models.deit.VisionTransformerDistilled

HALVES = ((0.5,) * 3, (0.5,) * 3)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Of the test's own rows.
TINY = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 64,
    "depth": 3,
    "num_heads": 4,
    "num_classes": 7,
}
TINY_CONFIG = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 64,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_labels": 7,
}
# What Hugging Face transformers has of each: model, width, heads, depth, patch, size.
PUBLISHED = {
    "vit_base_patch16": ("ViT", 768, 12, 12, 16, 224),
    "vit_base_patch32_384": ("ViT", 768, 12, 12, 32, 384),
    "vit_large_patch16": ("ViT", 1024, 16, 24, 16, 224),
    "vit_large_patch32_384": ("ViT", 1024, 16, 24, 32, 384),
    "deit_tiny_patch16": ("ViT", 192, 3, 12, 16, 224),
    "deit_small_patch16": ("ViT", 384, 6, 12, 16, 224),
    "deit_base_patch16": ("ViT", 768, 12, 12, 16, 224),
    "deit_tiny_distilled_patch16": ("DeiT", 192, 3, 12, 16, 224),
    "deit_small_distilled_patch16": ("DeiT", 384, 6, 12, 16, 224),
    "deit_base_distilled_patch16": ("DeiT", 768, 12, 12, 16, 224),
}
TIMM = (
    *(f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")),
    *(f"vit_{size}_patch16_384" for size in ("small", "base", "large")),
    "vit_small_patch32_224",
    "vit_base_patch32_224",
    "vit_base_patch8_224",
    "vit_base_patch32_384",
    "vit_large_patch32_384",
    *(f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")),
    *(f"deit_{size}_distilled_patch16_224" for size in ("tiny", "small", "base")),
)
CLASSES = {"ViT": "ViTForImageClassification"}
CLASSES["DeiT"] = "DeiTForImageClassificationWithTeacher"


def load_timm(model):
    """Returns the loader of a timm model."""

    def load(arrays):
        load_state(model, arrays)
        return lambda images: run_timm(model.eval(), images)

    return load


def run_timm(model, images):
    """Returns every output of a timm model under our names."""
    tokens, blocks = [], []
    hooks = [model.norm_pre.register_forward_hook(lambda m, i, o: tokens.append(o))]
    for block in model.blocks:
        hooks.append(block.register_forward_hook(lambda m, i, o: blocks.append(o)))
    normed = model.forward_features(images)
    for hook in hooks:
        hook.remove()
    prefix = model.num_prefix_tokens
    last = len(blocks) - 1
    pool = normed[:, 0]
    if isinstance(model, VisionTransformerDistilled):
        pool = (normed[:, 0] + normed[:, 1]) / 2
    else:
        pool = model.forward_head(normed, pre_logits=True)
    outputs = {
        "embed": tokens[0],
        "block0": blocks[0],
        f"block{last}": blocks[last],
        "patches": normed[:, prefix:],
        "cls": normed[:, 0],
        "pool": pool,
    }
    if model.num_classes:
        outputs["logits"] = model(images)
    return outputs


def load_transformers(model, size):
    """Returns the loader of a transformers model."""

    def load(arrays):
        loaded = load_published(model, arrays)

        def run(images):
            trunk = getattr(loaded, loaded.base_model_prefix, loaded)
            hidden = trunk(images, output_hidden_states=True)
            last = len(hidden.hidden_states) - 2
            normed = hidden.last_hidden_state
            # All but the last are taken before the last norm.
            outputs = {
                "embed": hidden.hidden_states[0],
                "block0": hidden.hidden_states[1],
                f"block{last - 1}": hidden.hidden_states[last],
                "patches": normed[:, 2 if "DeiT" in type(loaded).__name__ else 1 :],
                "cls": normed[:, 0],
            }
            # What its classifiers take, whose mean the logits are.
            outputs["pool"] = outputs["cls"]
            if "DeiT" in type(loaded).__name__:
                outputs["pool"] = (normed[:, 0] + normed[:, 1]) / 2
            if trunk is not loaded:
                outputs["logits"] = loaded(images).logits
            return outputs

        return run

    return load


def google_shapes(width, depth, heads, patch, grid, classes):
    """Returns the names and shapes of google's files, which timm reads too."""
    shapes = {
        "cls": (1, 1, width),
        "embedding/kernel": (patch, patch, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, 1 + grid**2, width),
        "head/kernel": (width, classes),
        "head/bias": (classes,),
    }
    norms = ["Transformer/encoder_norm"]
    for i in range(depth):
        block = f"Transformer/encoderblock_{i}"
        norms += [f"{block}/LayerNorm_0", f"{block}/LayerNorm_2"]
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for part in ("query", "key", "value"):
            shapes[f"{attention}/{part}/kernel"] = (width, heads, width // heads)
            shapes[f"{attention}/{part}/bias"] = (heads, width // heads)
        shapes[f"{attention}/out/kernel"] = (heads, width // heads, width)
        shapes[f"{attention}/out/bias"] = (width,)
        for k, (a, b) in enumerate(((width, 4 * width), (4 * width, width))):
            shapes[f"{block}/MlpBlock_3/Dense_{k}/kernel"] = (a, b)
            shapes[f"{block}/MlpBlock_3/Dense_{k}/bias"] = (b,)
    for norm in norms:
        shapes |= {f"{norm}/{leaf}": (width,) for leaf in ("scale", "bias")}
    return shapes


def load_google(model):
    """Returns the loader of google's files into a timm model."""

    def load(arrays):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "weights.npz")
            np.savez(path, **arrays)
            model.load_pretrained(str(path))
        return lambda images: run_timm(model.eval(), images)

    return load


def make_cases():
    """Returns the cases by name."""
    cases = {}
    facts = {"row": "tiny", "layout": "timm"}
    shapes = state_shapes(VisionTransformer(**TINY))
    for size in (32, 48, 24):
        # timm interpolates as it loads, or as it runs: the same function does it.
        dynamic = VisionTransformer(**TINY, dynamic_img_size=True)
        cases[f"timm at {size}"] = run_case(
            shapes,
            load_timm(dynamic),
            size=size,
            colors=HALVES,
            small=0.03,
            facts=facts,
        )
    model = VisionTransformerDistilled(**TINY)
    cases["timm distilled"] = run_case(
        state_shapes(model),
        load_timm(model),
        size=32,
        colors=IMAGENET,
        small=0.03,
        facts={"row": "tiny distilled", "layout": "timm"},
    )
    for name, row, colors in (
        ("ViTForImageClassification", "tiny", HALVES),
        ("ViTModel", "tiny", HALVES),
        (CLASSES["DeiT"], "tiny distilled", IMAGENET),
    ):
        config = transformers.DeiTConfig if "DeiT" in name else transformers.ViTConfig
        model = getattr(transformers, name)(config(**TINY_CONFIG))
        cases[name] = run_case(
            published_shapes(model),
            load_transformers(model, 32),
            size=32,
            colors=colors,
            small=1.0,  # transformers' epsilon is another one
            facts={"row": row, "layout": "transformers"},
        )
    cases["google"] = run_case(
        google_shapes(64, 3, 4, 8, 4, 7),
        load_google(VisionTransformer(**TINY)),
        size=32,
        colors=HALVES,
        small=0.03,
        facts={"row": "tiny", "layout": "google-npz"},
    )
    model = timm.create_model("vit_base_patch32_224")
    cases["whole"] = run_case(
        state_shapes(model),
        load_timm(model),
        size=224,
        colors=HALVES,
        small=0.03,
        facts={"row": "vit_base_patch32", "layout": "timm"},
    )
    return cases


def make_names():
    """Returns the names and shapes of the published variants."""
    names = {}
    for name in TIMM:
        with torch.device("meta"):
            model = timm.create_model(name)
        names[f"timm {name.removesuffix('_224')}"] = fold_names(state_shapes(model))
    for name, (kind, width, heads, depth, patch, size) in PUBLISHED.items():
        config = getattr(transformers, f"{kind}Config")(
            image_size=size,
            patch_size=patch,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=1,
            num_attention_heads=heads,
            num_labels=1000,
        )
        model = getattr(transformers, CLASSES[kind])(config)
        shapes = published_shapes(model)
        for name_of_one in [n for n in shapes if ".layer.0." in n]:
            for i in range(1, depth):  # all layers are like the first one
                other = name_of_one.replace(".layer.0.", f".layer.{i}.")
                shapes[other] = shapes[name_of_one]
        names[f"transformers {name}"] = fold_names(shapes)
    return names


if __name__ == "__main__":
    write_golden(
        Path(__file__).with_name("vit.json"),
        {"names": make_names(), "cases": make_cases()},
    )
