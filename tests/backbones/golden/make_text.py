"""Makes text.json: outputs of transformers' text networks, padded batches among them.

And bert.bin, a file of PyTorch's own.

    python tests/backbones/golden/make_text.py

Made with torch 2.13.0, transformers 5.23.0.
"""

from pathlib import Path

import numpy as np
import torch
from seeded import describe_output, draw_all, draw_ids, fold_names, write_golden
from torch_oracles import load_published, published_shapes, state_shapes, transformers

VOCABULARY, LENGTHS = 300, (16, 9, 2, 12)
WIDTH, DEPTH, HEADS, POSITIONS = 32, 3, 4, 40

BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
    "max_position_embeddings": POSITIONS,
}
# Rows 0 and 1 of RoBERTa's table of positions are no positions.
ROBERTA = BERT | {
    "max_position_embeddings": POSITIONS + 2,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
}
DISTILBERT = {
    "vocab_size": VOCABULARY,
    "dim": WIDTH,
    "n_layers": DEPTH,
    "n_heads": HEADS,
    "hidden_dim": 4 * WIDTH,
    "max_position_embeddings": POSITIONS,
}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": WIDTH,
    "n_layer": DEPTH,
    "n_head": HEADS,
    "n_positions": POSITIONS,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
CLIP = BERT | {
    "projection_dim": WIDTH,
    "hidden_act": "quick_gelu",
    "eos_token_id": VOCABULARY - 1,
    "bos_token_id": 0,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 8,
    "projection_dim": WIDTH,
}


def rename_old(name: str) -> str:
    """Returns a norm's name as BERT's first files have it."""
    for new, old in (("weight", "gamma"), ("bias", "beta")):
        name = name.replace(f"LayerNorm.{new}", f"LayerNorm.{old}")
    return name


def openai_shapes(shapes: dict) -> dict:
    """Returns OpenAI's names and shapes of transformers' text tower."""
    renamed = {}
    for name, shape in shapes.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            name = name.replace("q_proj.", "in_proj_")
            shape = (3 * shape[0], *shape[1:])
        for theirs, ours in OPENAI:
            name = name.replace(theirs, ours)
        if name == "text_projection.weight":
            name, shape = "text_projection", shape[::-1]
        renamed[name] = shape
    return renamed


OPENAI = (
    ("text_model.embeddings.token_embedding", "token_embedding"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm", "ln_final"),
    ("text_model.encoder.layers", "transformer.resblocks"),
    ("self_attn", "attn"),
    ("layer_norm", "ln_"),
    ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"),
)


def from_openai(arrays: dict, shapes: dict) -> dict:
    """Returns OpenAI's tensors under transformers' names."""
    found = {}
    for name, shape in shapes.items():
        parts = [p for p in "qkv" if f".{p}_proj." in name]
        place = name.replace(f"{parts[0]}_proj.", "in_proj_") if parts else name
        for theirs, ours in OPENAI:
            place = place.replace(theirs, ours)
        if name == "text_projection.weight":
            found[name] = arrays["text_projection"].T.copy()
        elif parts:
            k = "qkv".index(parts[0])
            found[name] = arrays[place][k * shape[0] : (k + 1) * shape[0]].copy()
        else:
            found[name] = arrays[place]
    return found


def run_trunk(model, ids: np.ndarray) -> dict[str, torch.Tensor]:
    """Returns the outputs by our names, zeros behind a text's end."""
    mask = torch.from_numpy(ids >= 0)
    filler = model.config.get_text_config().pad_token_id or 0
    tokens = torch.from_numpy(np.where(ids < 0, filler, ids).astype(np.int64))
    trunk = getattr(model, "text_model", model.base_model)
    found = trunk(tokens, attention_mask=mask.long(), output_hidden_states=True)
    layers = list(found.hidden_states)
    layers[-1] = found.last_hidden_state
    outputs = {f"layer{i}": x * mask[..., None] for i, x in enumerate(layers)}
    pooler = getattr(found, "pooler_output", None)
    if pooler is not None:
        outputs["pooler"] = pooler
    if hasattr(model, "text_projection"):
        outputs["embedding"] = model.text_projection(pooler)
    return outputs


def run_case(row, model, *, small, rename=None) -> dict:
    """Returns a golden case of a model, its tensors drawn by the file's names."""
    shapes = published_shapes(model)
    if rename == "openai":
        named = openai_shapes(shapes)
        arrays = draw_all(named, small=small)
        theirs = from_openai(arrays, shapes)
    else:
        rename = rename or (lambda name: name)
        named = {rename(name): shape for name, shape in shapes.items()}
        drawn = draw_all(named, small=small)
        theirs = {name: drawn[rename(name)] for name in shapes}
    loaded = load_published(model, theirs)
    with torch.inference_mode():
        outputs = run_trunk(loaded, draw_ids(VOCABULARY, LENGTHS))
    return {
        "row": row,
        "vocabulary": VOCABULARY,
        "lengths": LENGTHS,
        "small": small,
        "names": fold_names(named),
        "outputs": {n: describe_output(x.float().numpy()) for n, x in outputs.items()},
    }


def make_cases() -> dict:
    """Returns the cases by name; in each, the smallest norm shows its epsilon."""
    t = transformers
    bert, roberta = t.BertConfig(**BERT), t.RobertaConfig(**ROBERTA)
    distilbert, gpt2 = t.DistilBertConfig(**DISTILBERT), t.GPT2Config(**GPT2)
    clip = t.CLIPConfig(text_config=CLIP, vision_config=VISION, projection_dim=WIDTH)
    text = t.CLIPTextModelWithProjection(t.CLIPTextConfig(**CLIP))
    tiny = {"small": 3e-6}  # a variance of some 1e-12
    little = {"small": 3e-3}  # of some 1e-5
    return {
        "BertModel": run_case("bert", t.BertModel(bert), **tiny),
        "BertForPreTraining, old names": run_case(
            "bert", t.BertForPreTraining(bert), rename=rename_old, **tiny
        ),
        "BertForTokenClassification": run_case(
            "bert", t.BertForTokenClassification(bert), **tiny
        ),
        "RobertaModel": run_case("roberta", t.RobertaModel(roberta), **little),
        "RobertaForMaskedLM": run_case(
            "roberta", t.RobertaForMaskedLM(roberta), **little
        ),
        "DistilBertForMaskedLM": run_case(
            "distilbert", t.DistilBertForMaskedLM(distilbert), **tiny
        ),
        "DistilBertModel": run_case(
            "distilbert", t.DistilBertModel(distilbert), **tiny
        ),
        "GPT2Model": run_case("gpt2", t.GPT2Model(gpt2), **little),
        "GPT2LMHeadModel": run_case("gpt2", t.GPT2LMHeadModel(gpt2), **little),
        "CLIPModel": run_case("clip_text", t.CLIPModel(clip), **little),
        "CLIPTextModelWithProjection": run_case("clip_text", text, **little),
        "openai": run_case("clip_text", text, rename="openai", **little),
    }


def make_names() -> dict:
    """Returns the names and shapes of published variants, tied tensors left out."""
    t = transformers
    base, large = (768, 12, 12), (1024, 24, 16)

    def like_bert(kind, config, sizes, **more):
        width, depth, heads = sizes
        return kind(
            config(
                hidden_size=width,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                intermediate_size=4 * width,
                **more,
            )
        )

    def gpt2(width, depth, heads):
        config = t.GPT2Config(n_embd=width, n_layer=depth, n_head=heads)
        return t.GPT2LMHeadModel(config)

    def clip(width):
        config = t.CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_attention_heads=width // 64,
            projection_dim=width,
        )
        return t.CLIPTextModelWithProjection(config)

    of_roberta = {"vocab_size": 50265, "max_position_embeddings": 514}
    of_roberta |= {"type_vocab_size": 1}
    make = {
        "bert_base": lambda: like_bert(t.BertForPreTraining, t.BertConfig, base),
        "bert_large": lambda: like_bert(t.BertForPreTraining, t.BertConfig, large),
        "minilm_l6": lambda: like_bert(t.BertModel, t.BertConfig, (384, 6, 12)),
        "minilm_l12": lambda: like_bert(t.BertModel, t.BertConfig, (384, 12, 12)),
        "distilbert_base": lambda: t.DistilBertForMaskedLM(t.DistilBertConfig()),
        **{
            name: lambda sizes=sizes: like_bert(
                t.RobertaModel, t.RobertaConfig, sizes, **of_roberta
            )
            for name, sizes in (
                ("roberta_base", base),
                ("roberta_large", large),
                ("distilroberta_base", (768, 6, 12)),
            )
        },
        "gpt2": lambda: gpt2(768, 12, 12),
        "gpt2_medium": lambda: gpt2(1024, 24, 16),
        "gpt2_large": lambda: gpt2(1280, 36, 20),
        "gpt2_xl": lambda: gpt2(1600, 48, 25),
        "distilgpt2": lambda: gpt2(768, 6, 12),
        "clip_text_base_patch32": lambda: clip(512),
        "clip_text_base_patch16": lambda: clip(512),
        "clip_text_large_patch14": lambda: clip(768),
    }
    names = {}
    for name, made in make.items():
        with torch.device("meta"):
            model = made()
        tied = set(getattr(model, "_tied_weights_keys", None) or ())
        shapes = state_shapes(model)
        kept = {key: shape for key, shape in shapes.items() if key not in tied}
        names[name] = fold_names(kept)
    return names


def write_bin(path: Path) -> dict:
    """Writes a file as `torch.save` does, with BERT's old names; returns its names."""
    smallest = BERT | {"vocab_size": 260, "hidden_size": 16, "intermediate_size": 64}
    smallest |= {"num_hidden_layers": 1, "max_position_embeddings": 8}
    model = transformers.BertModel(transformers.BertConfig(**smallest))
    shapes = {f"bert.{rename_old(n)}": s for n, s in state_shapes(model).items()}
    arrays = draw_all(shapes, small=1.0)
    torch.save({name: torch.from_numpy(a) for name, a in arrays.items()}, path)
    return fold_names(shapes)


if __name__ == "__main__":
    here = Path(__file__)
    write_golden(
        here.with_name("text.json"),
        {
            "names": make_names(),
            "cases": make_cases(),
            "bin": {"names": write_bin(here.with_name("bert.bin"))},
        },
    )
