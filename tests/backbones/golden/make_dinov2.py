"""Makes dinov2.json: outputs of timm's and transformers' DINOv2.

    python tests/backbones/golden/make_dinov2.py

Facebook's files are read by timm's conversion; its interpolation is written out here.
Made with torch 2.13.0, timm 1.0.31, transformers 5.23.0.
"""

from pathlib import Path

import torch
from make_vit import TINY, TINY_CONFIG, VisionTransformer, load_timm, run_timm
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

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZES = {"small": (384, 6, 12), "base": (768, 12, 12), "large": (1024, 16, 24)}


def make_timm(registers: int, **more):
    """Returns timm's small model, as its DINOv2 rows make the large ones."""
    kwargs = {**TINY, "num_classes": 0, "init_values": 1e-5, **more}
    if registers:
        kwargs |= {"reg_tokens": registers, "no_embed_class": True}
    return VisionTransformer(**kwargs, dynamic_img_size=True)


def facebook_shapes(model) -> dict:
    """Returns the names and shapes of facebook's file for a timm model."""
    shapes = state_shapes(model)
    width = shapes["cls_token"][-1]
    shapes["mask_token"] = (1, width)
    if "reg_token" in shapes:
        shapes["register_tokens"] = shapes.pop("reg_token")
        _, patches, _ = shapes["pos_embed"]
        shapes["pos_embed"] = (1, 1 + patches, width)
    return shapes


def interpolate_as_facebook(pos_embed, grid: int, registers: int):
    """Interpolates as facebook's `interpolate_pos_encoding` does."""
    side = int((pos_embed.shape[1] - 1) ** 0.5)
    if side == grid:
        return pos_embed
    patches = pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if registers:  # interpolate_antialias=True, interpolate_offset=0.0
        new = nn.functional.interpolate(
            patches, size=(grid, grid), mode="bicubic", antialias=True
        )
    else:  # interpolate_antialias=False, interpolate_offset=0.1
        scale = float(grid + 0.1) / side
        new = nn.functional.interpolate(
            patches, mode="bicubic", antialias=False, scale_factor=(scale, scale)
        )
    assert new.shape[-1] == grid
    new = new.permute(0, 2, 3, 1).reshape(1, grid * grid, -1)
    return torch.cat([pos_embed[:, :1], new], dim=1)


def load_facebook(registers: int, size: int):
    """Returns the loader of facebook's files into a timm model of the size."""

    def load(arrays):
        state = {name: torch.from_numpy(array) for name, array in arrays.items()}
        grid = size // TINY["patch_size"]
        state["pos_embed"] = interpolate_as_facebook(
            state["pos_embed"], grid, registers
        )
        model = make_timm(registers, img_size=size).eval()
        convert = timm.models.vision_transformer.checkpoint_filter_fn
        model.load_state_dict(convert(state, model))
        return lambda images: run_timm(model, images)

    return load


def load_transformers(model):
    """Returns the loader of a transformers model."""

    def load(arrays):
        loaded = load_published(model, arrays)

        def run(images):
            hidden = loaded(images, output_hidden_states=True)
            normed = hidden.last_hidden_state
            states = hidden.hidden_states
            registers = getattr(loaded.config, "num_register_tokens", 0)
            return {
                "embed": states[0],
                "block0": states[1],
                "block1": states[2],
                "patches": normed[:, 1 + registers :],
                "cls": normed[:, 0],
                "pool": hidden.pooler_output,
            }

        return run

    return load


def make_cases():
    """Returns the cases by name."""
    cases = {}
    shared = {"colors": IMAGENET, "small": 0.03}
    for registers in (0, 4):
        row = "registers" if registers else "plain"
        model = make_timm(registers)
        for size in (32, 24):
            cases[f"timm {row} at {size}"] = run_case(
                state_shapes(model),
                load_timm(model),
                size=size,
                facts={"row": row, "layout": "timm"},
                **shared,
            )
        for size in (32, 24, 48):
            cases[f"facebook {row} at {size}"] = run_case(
                facebook_shapes(model),
                load_facebook(registers, size),
                size=size,
                facts={"row": row, "layout": "facebook"},
                **shared,
            )
        kind = "Dinov2WithRegisters" if registers else "Dinov2"
        config = getattr(transformers, f"{kind}Config")(**TINY_CONFIG)
        model = getattr(transformers, f"{kind}Model")(config)
        for size in (32, 24):
            cases[f"transformers {row} at {size}"] = run_case(
                published_shapes(model),
                load_transformers(model),
                size=size,
                facts={"row": row, "layout": "transformers"},
                **shared,
            )
    model = timm.create_model("vit_small_patch14_dinov2", dynamic_img_size=True)
    cases["whole"] = run_case(
        state_shapes(model),
        load_timm(model),
        size=224,
        facts={"row": "dinov2_small", "layout": "timm"},
        **shared,
    )
    return cases


def make_names():
    """Returns the names and shapes of the published variants."""
    names = {}
    for size, (width, heads, depth) in SIZES.items():
        for registers in ("", "reg4_"):
            ours = f"dinov2_{size}{registers and '_registers'}"
            with torch.device("meta"):
                model = timm.create_model(f"vit_{size}_patch14_{registers}dinov2")
            names[f"timm {ours}"] = fold_names(state_shapes(model))
            names[f"facebook {ours}"] = fold_names(facebook_shapes(model))
            kind = "Dinov2WithRegisters" if registers else "Dinov2"
            config = getattr(transformers, f"{kind}Config")(
                image_size=518,
                patch_size=14,
                hidden_size=width,
                num_hidden_layers=1,
                num_attention_heads=heads,
            )
            model = getattr(transformers, f"{kind}Model")(config)
            shapes = published_shapes(model)
            for name in [name for name in shapes if ".layer.0." in name]:
                for i in range(1, depth):  # all layers are like the first one
                    shapes[name.replace(".layer.0.", f".layer.{i}.")] = shapes[name]
            names[f"transformers {ours}"] = fold_names(shapes)
    return names


if __name__ == "__main__":
    write_golden(
        Path(__file__).with_name("dinov2.json"),
        {"names": make_names(), "cases": make_cases()},
    )
