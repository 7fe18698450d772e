"""What all families of text backbones share: their settings, and how these are checked.

What weights say of themselves comes with them: how many tokens they embed, how long a
text may be, whether they have a pooler, and how a sentence is made of their tokens.
"""

from collections.abc import Callable, Mapping, Sequence

from tl_pipeline.backbones.architecture import Architecture, Rule, fill_settings
from tl_pipeline.backbones.byte_tokens import byte_preprocess
from tl_pipeline.backbones.published import list_checkpoints, say_how_to_get
from tl_pipeline.backbones.text_transformer import Shape, TextTransformer
from tl_pipeline.digest import Json
from tl_pipeline.errors import BackboneError

SENTENCES = ("", "cls", "mean", "max", "last")
MAX_TOKENS = 2**24


def make_text_architecture(
    name: str,
    shape: Shape,
    settings: Mapping[str, Json] | None,
    *,
    tokenizer: str,
    make_rules: Callable[[Shape], Mapping[str, Sequence[Rule]]],
    make_facts: Callable[[Shape], Mapping[str, Json]],
) -> Architecture:
    """Returns a text architecture with its settings.

    Args:
      name: The registry's.
      shape: With its defaults.
      settings: `max_length`, the most tokens of a text; `vocabulary` and `positions`,
        the rows of the tables that weights bring; `pooler`, whether they bring one;
        `sentence`, the pooling of the feature of this name, or `""` for none; and
        `normalize`, whether that is scaled to length 1.
      tokenizer: Whose files of a vocabulary the weights bring, where they bring no
        `tokenizer.json`.
      make_rules: Gives the key rules of each layout.
      make_facts: Gives what a `config.json` beside the weights must not deny.

    Raises:
      BackboneError: A setting is unknown or out of range.
    """
    defaults: dict[str, Json] = {
        "max_length": (settings or {}).get("positions", shape.positions),
        "vocabulary": shape.vocabulary,
        "positions": shape.positions,
        "sentence": shape.sentence,
        "normalize": shape.normalize,
    }
    if shape.pooler == "tanh":
        defaults["pooler"] = True
    filled = fill_settings(name, settings, defaults)
    for key, most in (
        ("vocabulary", MAX_TOKENS),
        ("positions", MAX_TOKENS),
        ("max_length", filled["positions"]),
    ):
        _check_count(name, key, filled[key], most)
    if filled["sentence"] not in SENTENCES:
        raise BackboneError(
            f"Asked for {name} with sentence = {filled['sentence']!r}; it takes "
            f"{', '.join(map(repr, SENTENCES))}."
        )
    own = {key: filled[key] for key in Shape._fields if key in filled}
    if shape.pooler == "tanh":
        own["pooler"] = "tanh" if filled["pooler"] else ""
    shape = shape._replace(**own)
    max_length = filled["max_length"]
    assert isinstance(max_length, int)
    return Architecture(
        name=name,
        settings=filled,
        preprocess=byte_preprocess(max_length),
        classes=None,
        make_network=lambda classes: TextTransformer(shape),
        key_rules=make_rules(shape),
        checkpoints=list_checkpoints(name),
        how_to_get=say_how_to_get(name),
        tokenizer=tokenizer,
        facts=make_facts(shape),
    )


def _check_count(name: str, key: str, value: Json, most: Json) -> None:
    assert isinstance(value, int) and isinstance(most, int)
    if not 1 <= value <= most:
        raise BackboneError(
            f"Asked for {name} with {key} = {value}; it takes 1 to {most:,}."
        )
