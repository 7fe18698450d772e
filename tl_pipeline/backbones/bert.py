"""BERT and MiniLM, as Hugging Face transformers and sentence-transformers publish them.

Outputs: `layer0` and so on, `pooler` where the weights have it, and `sentence` where
sentence-transformers' configuration stands beside them; see `text_transformer`. Heads
of pretraining, and of whatever task the weights were tuned for, are left out.

References:
  Devlin et al. 2018, https://arxiv.org/abs/1810.04805
  Wang et al. 2020 (MiniLM), https://arxiv.org/abs/2002.10957
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


def _shape(width: int, depth: int, heads: int, **more) -> Shape:
    return Shape(
        width, depth, heads, vocabulary=30522, positions=512, types=2, pooler="tanh"
    )._replace(**more)


_SENTENCE = {"sentence": "mean", "normalize": True}
VARIANTS = {
    "bert_base": _shape(768, 12, 12),
    "bert_large": _shape(1024, 24, 16),
    "minilm_l6": _shape(384, 6, 12, **_SENTENCE),
    "minilm_l12": _shape(384, 12, 12, **_SENTENCE),
}


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
        make_facts=list_bert_facts,
    )


def list_bert_facts(shape: Shape) -> dict[str, Json]:
    """Returns what a `config.json` of BERT's or RoBERTa's says of a shape."""
    return {
        "hidden_size": shape.width,
        "num_hidden_layers": shape.depth,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.width,
        "hidden_act": shape.activation,
        "layer_norm_eps": shape.epsilon,
        "position_embedding_type": "absolute",
    }


def _rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `BertModel`, bare or within a model with a head."""
    for prefix in ("", "bert."):
        yield from bert_rules(shape, prefix)
    yield from unused_rules("cls.*", "classifier.*", "qa_outputs.*")


def bert_rules(shape: Shape, prefix: str) -> Iterator[Rule]:
    """Yields the rules of a trunk, which RoBERTa's are too.

    Args:
      shape: Of the network.
      prefix: Before all names of the trunk.
    """
    embeddings = f"{prefix}embeddings"
    yield f"{embeddings}.word_embeddings.weight", "words.embedding", "same"
    yield f"{embeddings}.position_embeddings.weight", "positions.embedding", "same"
    yield f"{embeddings}.token_type_embeddings.weight", "types.embedding", "same"
    yield from norm_rules(f"{embeddings}.LayerNorm", "norm")
    yield from unused_rules(f"{embeddings}.position_ids")
    for i in range(shape.depth):
        layer, block = f"{prefix}encoder.layer.{i}", f"blocks.{i}"
        attention = f"{layer}.attention"
        yield from joined_rules(
            tuple(f"{attention}.self.{part}" for part in ("query", "key", "value")),
            f"{block}.attention.qkv",
        )
        yield from dense_rules(f"{attention}.output.dense", f"{block}.attention.out")
        yield from norm_rules(f"{attention}.output.LayerNorm", f"{block}.norm1")
        yield from dense_rules(f"{layer}.intermediate.dense", f"{block}.mlp.up")
        yield from dense_rules(f"{layer}.output.dense", f"{block}.mlp.down")
        yield from norm_rules(f"{layer}.output.LayerNorm", f"{block}.norm2")
    yield from dense_rules(f"{prefix}pooler.dense", "pooler")
