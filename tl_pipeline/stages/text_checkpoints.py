"""What lies beside the weights of a text network: its tokenizer, and what it is.

The file's own tensors say how many tokens are embedded and how many positions there
are; `config.json` what shapes do not show; sentence-transformers' files how a sentence
is made. None of it is guessed: what denies the architecture is refused.
"""

from collections.abc import Sequence
from pathlib import Path

from tl_pipeline.backbones.architecture import Architecture
from tl_pipeline.digest import Json, bytes_digest
from tl_pipeline.errors import MisfitError
from tl_pipeline.preprocess import TextPreprocess
from tl_pipeline.stages.facts import CONFIG, check_facts
from tl_pipeline.weights.merge import KeyRule, named_tensors
from tl_pipeline.weights.sentence_files import read_sentence_files
from tl_pipeline.weights.tensors import Tensors
from tl_pipeline.weights.tokenizer_files import lower_first, read_tokenizer

_WORDS, _POSITIONS, _POOLER = "words.embedding", "positions.embedding", "pooler.kernel"


def imply_settings(
    architecture: Architecture,
    tensors: Tensors,
    rules: Sequence[KeyRule],
    folder: Path,
) -> dict[str, Json]:
    """Returns the settings that weights, and what lies beside them, ask for.

    Args:
      architecture: With its defaults.
      tensors: Of the file, under the names of its layout.
      rules: Of the layout.
      folder: That of the file.

    Raises:
      WeightsError: `config.json` is of another architecture, or a file beside the
        weights cannot be read.
    """
    from tl_pipeline.backbones.network import network_shapes

    check_facts(architecture, folder / CONFIG)
    words, places = (_count_rows(tensors, rules, t) for t in (_WORDS, _POSITIONS))
    sentence = read_sentence_files(folder)
    implied: dict[str, Json] = {
        "sentence": sentence.pooling,
        "normalize": sentence.normalize,
    }
    if "pooler" in architecture.settings:
        implied["pooler"] = _count_rows(tensors, rules, _POOLER) is not None
    if words:
        implied["vocabulary"] = words
    positions = architecture.settings["positions"]
    assert isinstance(positions, int)
    if places:
        # RoBERTa's first rows are no positions of a text.
        before = network_shapes(architecture, None)[_POSITIONS][0] - positions
        positions = implied["positions"] = places - before
    tokenizer = read_tokenizer(folder, architecture.tokenizer)
    asked = sentence.max_length or tokenizer.max_length or positions
    implied["max_length"] = min(asked, positions)
    return implied


def read_text_preprocess(architecture: Architecture, folder: Path) -> TextPreprocess:
    """Returns how texts become inputs for weights, by the tokenizer beside them.

    Args:
      architecture: With the settings that the weights imply.
      folder: That of the weights.

    Raises:
      WeightsError: There is no tokenizer, or it is of other weights.
    """
    tokenizer = read_tokenizer(folder, architecture.tokenizer)
    vocabulary = architecture.settings["vocabulary"]
    assert isinstance(vocabulary, int)
    if tokenizer.n_ids > vocabulary:
        raise MisfitError(
            f"Tokenizer {tokenizer.file} gives ids up to {tokenizer.n_ids - 1:,}, and "
            f"the weights beside it have embeddings of {vocabulary:,} tokens: it "
            "belongs to other weights. Bring the one that is published with these."
        )
    content = tokenizer.content
    if read_sentence_files(folder).lowercase:
        content = lower_first(content)
    max_length = architecture.settings["max_length"]
    assert isinstance(max_length, int)
    return TextPreprocess(bytes_digest(content.encode()), max_length, content)


def _count_rows(tensors: Tensors, rules: Sequence[KeyRule], target: str) -> int | None:
    """Returns the rows of a parameter in the file; None where it is not there."""
    for rule in rules:
        if rule.target == target:
            for source in named_tensors(rule, tensors.arrays):
                return len(tensors.arrays[source])
    return None
