"""DistilBERT, as Hugging Face transformers publishes it.

Outputs: `layer0` and so on; see `text_transformer`. It has no pooler and no kinds of
segment: in a classifier's file, what stands between the first token and the classes is
the classifier's, and is left out.

Reference:
  Sanh et al. 2019, https://arxiv.org/abs/1910.01108
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

VARIANTS = {"distilbert_base": Shape(768, 6, 12, vocabulary=30522, positions=512)}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant; settings and errors as of `make_text_architecture`."""
    return make_text_architecture(
        name,
        VARIANTS[name],
        settings,
        tokenizer="bert",
        make_rules=lambda shape: {"transformers": tuple(_rules(shape))},
        make_facts=_list_facts,
    )


def _list_facts(shape: Shape) -> dict[str, Json]:
    return {
        "dim": shape.width,
        "n_layers": shape.depth,
        "n_heads": shape.heads,
        "hidden_dim": 4 * shape.width,
        "activation": shape.activation,
    }


def _rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `DistilBertModel`, bare or within a model with a head."""
    for prefix in ("", "distilbert."):
        embeddings = f"{prefix}embeddings"
        yield f"{embeddings}.word_embeddings.weight", "words.embedding", "same"
        yield f"{embeddings}.position_embeddings.weight", "positions.embedding", "same"
        yield from norm_rules(f"{embeddings}.LayerNorm", "norm")
        for i in range(shape.depth):
            layer, block = f"{prefix}transformer.layer.{i}", f"blocks.{i}"
            yield from joined_rules(
                tuple(f"{layer}.attention.{part}_lin" for part in "qkv"),
                f"{block}.attention.qkv",
            )
            yield from dense_rules(
                f"{layer}.attention.out_lin", f"{block}.attention.out"
            )
            yield from norm_rules(f"{layer}.sa_layer_norm", f"{block}.norm1")
            yield from dense_rules(f"{layer}.ffn.lin1", f"{block}.mlp.up")
            yield from dense_rules(f"{layer}.ffn.lin2", f"{block}.mlp.down")
            yield from norm_rules(f"{layer}.output_layer_norm", f"{block}.norm2")
    yield from unused_rules("vocab_*", "pre_classifier.*", "classifier.*")
    yield from unused_rules("qa_outputs.*")
