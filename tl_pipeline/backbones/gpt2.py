"""GPT-2 in all its sizes, as OpenAI and Hugging Face transformers publish it.

Outputs: `layer0` and so on, the last one after the last norm; see `text_transformer`.
A token sees those before it alone, so that `last` is the pooling that saw all of a
text; the first one saw nothing but itself.

Reference:
  Radford et al. 2019, "Language models are unsupervised multitask learners",
  https://github.com/openai/gpt-2
"""

from collections.abc import Iterator, Mapping

from tl_pipeline.backbones.architecture import Architecture, Rule
from tl_pipeline.backbones.text_architecture import make_text_architecture
from tl_pipeline.backbones.text_layouts import dense_rules, norm_rules, unused_rules
from tl_pipeline.backbones.text_transformer import Shape
from tl_pipeline.digest import Json


def _shape(width: int, depth: int, heads: int) -> Shape:
    return Shape(
        width,
        depth,
        heads,
        vocabulary=50257,
        positions=1024,
        epsilon=1e-5,
        activation="gelu_new",
        pre_norm=True,
        causal=True,
    )


VARIANTS = {
    "gpt2": _shape(768, 12, 12),
    "gpt2_medium": _shape(1024, 24, 16),
    "gpt2_large": _shape(1280, 36, 20),
    "gpt2_xl": _shape(1600, 48, 25),
    "distilgpt2": _shape(768, 6, 12),
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant; settings and errors as of `make_text_architecture`."""
    return make_text_architecture(
        name,
        VARIANTS[name],
        settings,
        tokenizer="gpt2",
        make_rules=lambda shape: {"transformers": tuple(_rules(shape))},
        make_facts=_list_facts,
    )


def _list_facts(shape: Shape) -> dict[str, Json]:
    return {
        "n_embd": shape.width,
        "n_layer": shape.depth,
        "n_head": shape.heads,
        "n_inner": 4 * shape.width,
        "activation_function": shape.activation,
        "layer_norm_epsilon": shape.epsilon,
        "scale_attn_by_inverse_layer_idx": False,
    }


def _rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `GPT2Model`, bare or within a model with a head.

    Its dense layers keep their kernels as they are here; the head of words is the table
    of words once more.
    """
    for prefix in ("", "transformer."):
        yield f"{prefix}wte.weight", "words.embedding", "same"
        yield f"{prefix}wpe.weight", "positions.embedding", "same"
        yield from norm_rules(f"{prefix}ln_f", "norm")
        for i in range(shape.depth):
            layer, block = f"{prefix}h.{i}", f"blocks.{i}"
            for theirs, ours in (
                ("attn.c_attn", "attention.qkv"),
                ("attn.c_proj", "attention.out"),
                ("mlp.c_fc", "mlp.up"),
                ("mlp.c_proj", "mlp.down"),
            ):
                source, target = f"{layer}.{theirs}", f"{block}.{ours}"
                yield from dense_rules(source, target, "same")
            for k in (1, 2):
                yield from norm_rules(f"{layer}.ln_{k}", f"{block}.norm{k}")
            # Which tokens may be looked at, as older files hold it.
            masks = (f"{layer}.attn.bias", f"{layer}.attn.masked_bias")
            yield from unused_rules(*masks)
    yield from unused_rules("lm_head.weight", "score.weight")
