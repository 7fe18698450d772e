"""RoBERTa, as Hugging Face transformers publishes it.

Outputs: `layer0` and so on, `pooler` where the weights have it, `sentence`; see
`text_transformer`. The network is BERT's, but for its tokens, one kind of segment, and
positions that begin at 2, behind that of padding.

Reference:
  Liu et al. 2019, https://arxiv.org/abs/1907.11692
"""

from collections.abc import Iterator, Mapping

from tl_pipeline.backbones.architecture import Architecture, Rule
from tl_pipeline.backbones.bert import bert_rules, list_bert_facts
from tl_pipeline.backbones.text_architecture import make_text_architecture
from tl_pipeline.backbones.text_layouts import unused_rules
from tl_pipeline.backbones.text_transformer import Shape
from tl_pipeline.digest import Json


def _shape(width: int, depth: int, heads: int) -> Shape:
    return Shape(
        width,
        depth,
        heads,
        vocabulary=50265,
        positions=512,
        epsilon=1e-5,
        types=1,
        first_position=2,
        pooler="tanh",
    )


VARIANTS = {
    "roberta_base": _shape(768, 12, 12),
    "roberta_large": _shape(1024, 24, 16),
    "distilroberta_base": _shape(768, 6, 12),
}


def make_architecture(
    name: str, settings: Mapping[str, Json] | None = None
) -> Architecture:
    """Returns a variant; settings and errors as of `make_text_architecture`."""
    return make_text_architecture(
        name,
        VARIANTS[name],
        settings,
        tokenizer="roberta",
        make_rules=lambda shape: {"transformers": tuple(_rules(shape))},
        make_facts=list_bert_facts,
    )


def _rules(shape: Shape) -> Iterator[Rule]:
    """Yields the rules of `RobertaModel`, bare or within a model with a head."""
    for prefix in ("", "roberta."):
        yield from bert_rules(shape, prefix)
    yield from unused_rules("lm_head.*", "classifier.*", "qa_outputs.*")
