"""Tokenizers as they lie beside weights: `tokenizer.json`, or the files before it.

Whatever the files are, the result is the canonical JSON of the `tokenizers` library's
own format, without its settings of padding and of cutting, which are not the
tokenizer's. `vocab.txt`, or `vocab.json` with `merges.txt`, become the tokenizer that
transformers makes of them.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tl_pipeline.digest import canonical_json
from tl_pipeline.errors import WeightsError, shorten

TOKENIZER = "tokenizer.json"
VOCAB_TXT, VOCAB_JSON, MERGES = "vocab.txt", "vocab.json", "merges.txt"
CONFIG = "tokenizer_config.json"
FILES = (TOKENIZER, CONFIG, VOCAB_TXT, VOCAB_JSON, MERGES)
MAX_BYTES = 2**27  # of a file: the largest published ones have some 20 MiB

# CLIP's words: contractions, letters, single digits, and whatever else stands together.
_CLIP_WORDS = (
    r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # as transformers'
)
_Files = Mapping[str, Any]


class LoadedTokenizer(NamedTuple):
    """A tokenizer as it is beside weights.

    Attributes:
      content: Its canonical JSON.
      n_ids: One more than the largest id that it gives.
      file: What it was read from.
      max_length: Most tokens that its configuration allows; None where that is silent.
    """

    content: str
    n_ids: int
    file: Path
    max_length: int | None


def read_tokenizer(folder: Path, family: str) -> LoadedTokenizer:
    """Reads the tokenizer that lies beside weights.

    Args:
      folder: That of the weights.
      family: One of `FAMILIES`: what becomes of a vocabulary without `tokenizer.json`.

    Raises:
      WeightsError: There is none, or it cannot be read or used.
    """
    from tokenizers import Tokenizer  # a twentieth of a second that images need not

    config = _read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    path = folder / TOKENIZER
    if path.is_file():
        made = _read_json(path)
    else:
        path, made = _make_of_vocabulary(folder, family, config)
    made = {**made, "truncation": None, "padding": None}
    content = canonical_json(made)
    try:
        tokenizer = Tokenizer.from_str(content)
        ids = tokenizer.get_vocab(with_added_tokens=True).values()
    except Exception as error:  # the library has no other
        _refuse(path, shorten(error))
    longest = config.get("model_max_length")
    is_said = isinstance(longest, int) and 0 < longest < 2**31  # 1e30 stands for none
    return LoadedTokenizer(
        content, 1 + max(ids, default=-1), path, longest if is_said else None
    )


def lower_first(content: str) -> str:
    """Returns a tokenizer that takes texts in lower case alone."""
    made = json.loads(content)
    then = [made["normalizer"]] if made["normalizer"] else []
    normalizers = [{"type": "Lowercase"}, *then]
    made["normalizer"] = {"type": "Sequence", "normalizers": normalizers}
    return canonical_json(made)


def _make_of_vocabulary(
    folder: Path, family: str, config: _Files
) -> tuple[Path, dict[str, Any]]:
    make, names = FAMILIES[family]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise WeightsError(
            f"Weights in {folder} have no tokenizer beside them: there is neither "
            f"{TOKENIZER} nor {' with '.join(names)}. Bring it from where the weights "
            "are published, into their folder."
        )
    return folder / names[0], make(*(folder / name for name in names), config)


def _make_bert(vocab: Path, config: _Files) -> dict[str, Any]:
    words = _read_text(vocab).split("\n")
    if words[-1] == "":
        words.pop()
    known = {word.removesuffix("\r"): i for i, word in enumerate(words)}
    first, last = _ids(vocab, known, "[CLS]", "[SEP]")
    special = [w for w in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if w in known]
    lower = bool(config.get("do_lower_case", True))
    return {
        "version": "1.0",
        "added_tokens": [_added(word, known[word]) for word in special],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": bool(config.get("tokenize_chinese_chars", True)),
            "strip_accents": config.get("strip_accents"),
            "lowercase": lower,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", last],
            "cls": ["[CLS]", first],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": known,
        },
    }


def _make_roberta(vocab: Path, merges: Path, config: _Files) -> dict[str, Any]:
    known = _read_json(vocab)
    first, last = _ids(vocab, known, "<s>", "</s>")
    special = [w for w in ("<s>", "<pad>", "</s>", "<unk>", "<mask>") if w in known]
    prefix = bool(config.get("add_prefix_space", False))
    return {
        **_make_bytes(known, merges, prefix=prefix),
        "added_tokens": [_added(word, known[word]) for word in special],
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": ["</s>", last],
            "cls": ["<s>", first],
            "trim_offsets": True,
            "add_prefix_space": prefix,
        },
    }


def _make_gpt2(vocab: Path, merges: Path, config: _Files) -> dict[str, Any]:
    known = _read_json(vocab)
    end = "<|endoftext|>"
    prefix = bool(config.get("add_prefix_space", False))
    return {
        **_make_bytes(known, merges, prefix=prefix),
        "added_tokens": [_added(end, known[end])] if end in known else [],
        "post_processor": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": False,
            "use_regex": True,
        },
    }


def _make_clip(vocab: Path, merges: Path, config: _Files) -> dict[str, Any]:
    known = _read_json(vocab)
    begin, end = "<|startoftext|>", "<|endoftext|>"
    first, last = _ids(vocab, known, begin, end)
    made = _make_bytes(known, merges, prefix=False)
    words = {
        "type": "Split",
        "pattern": {"Regex": _CLIP_WORDS},
        "behavior": "Removed",
        "invert": True,
    }
    spaces = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
    return {
        **made,
        "added_tokens": [_added(begin, first), _added(end, last)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "NFC"}, spaces, {"type": "Lowercase"}],
        },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [words, made["pre_tokenizer"]],
        },
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [end, last],
            "cls": [begin, first],
            "trim_offsets": False,
            "add_prefix_space": False,
        },
        "model": {
            **made["model"],
            "unk_token": end,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>",
        },
    }


def _make_bytes(known: _Files, merges: Path, *, prefix: bool) -> dict[str, Any]:
    """Returns what tokenizers of bytes and their merged pairs share."""
    lines = _read_text(merges).split("\n")
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#ver")]
    if not all(len(pair) == 2 for pair in pairs):
        _refuse(merges, "a line is no pair of tokens")
    return {
        "version": "1.0",
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": prefix,
            "trim_offsets": True,
            "use_regex": True,
        },
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": True,
            "trim_offsets": True,
            "use_regex": True,
        },
        "model": {"type": "BPE", "vocab": known, "merges": pairs},
    }


# How a vocabulary becomes a tokenizer, and in which files it lies.
FAMILIES: Mapping[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]] = {
    "bert": (_make_bert, (VOCAB_TXT,)),
    "clip": (_make_clip, (VOCAB_JSON, MERGES)),
    "gpt2": (_make_gpt2, (VOCAB_JSON, MERGES)),
    "roberta": (_make_roberta, (VOCAB_JSON, MERGES)),
}


def _added(word: str, id: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": word, **flags, "special": True}


def _ids(path: Path, known: _Files, *words: str) -> list[int]:
    missing = [word for word in words if word not in known]
    if missing:
        _refuse(path, f"it lacks {' and '.join(missing)}")
    return [known[word] for word in words]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        _refuse(path, shorten(error))
    if not isinstance(said, dict):
        _refuse(path, "it is no object")
    return said


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            _refuse(path, f"it has more than {MAX_BYTES:,} bytes")
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        _refuse(path, shorten(error))


def _refuse(path: Path, found: str) -> NoReturn:
    raise WeightsError(
        f"Tokenizer {path} beside the weights cannot be used: {found}. Bring the one "
        "that is published with them."
    )
