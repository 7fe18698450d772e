"""Tokenizers beside weights: golden files that golden/make_tokenizers.py wrote."""

import json
import shutil
from pathlib import Path

import pytest

from tl_pipeline.data.tokenizing import encode_text
from tl_pipeline.digest import bytes_digest
from tl_pipeline.errors import WeightsError
from tl_pipeline.preprocess import TextPreprocess
from tl_pipeline.weights.tokenizer_files import lower_first, read_tokenizer

GOLDEN = Path(__file__).parent.parent / "golden" / "tokenizers"
HARD = json.loads((GOLDEN / "hard.json").read_text())
KINDS = ("bert", "clip", "gpt2", "roberta")


def as_preprocess(content, max_length=512):
    return TextPreprocess(bytes_digest(content.encode()), max_length, content)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", ["{}", "{}-saved"], ids=["vocabulary", "json"])
def test_hard_texts_have_the_ids_that_transformers_gives_them(kind, folder):
    loaded = read_tokenizer(GOLDEN / folder.format(kind), kind)
    preprocess = as_preprocess(loaded.content)
    for name, text in HARD["texts"].items():
        ids, is_cut = encode_text(text, preprocess)
        assert ids[ids >= 0].tolist() == HARD[kind][name], name
        assert not is_cut
    vocab = json.loads(loaded.content)["model"]["vocab"]
    assert loaded.n_ids == 1 + max(vocab.values())


def test_the_digest_is_of_the_tokenizer_and_not_of_how_it_pads(tmp_path):
    saved = json.loads((GOLDEN / "bert-saved" / "tokenizer.json").read_text())
    plain = read_tokenizer(GOLDEN / "bert-saved", "bert").content
    saved["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    saved["padding"] = {
        "strategy": {"Fixed": 128},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved, indent=4))
    assert read_tokenizer(tmp_path, "bert").content == plain
    ids, _ = encode_text("one, two, three, four, five", as_preprocess(plain))
    assert (ids >= 0).sum() > 4


def test_a_vocabulary_with_capitals_is_said_so_by_its_configuration(tmp_path):
    shutil.copy(GOLDEN / "bert" / "vocab.txt", tmp_path)
    lower = read_tokenizer(tmp_path, "bert")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": False, "model_max_length": 128})
    )
    cased = read_tokenizer(tmp_path, "bert")
    assert (lower.max_length, cased.max_length) == (None, 128)
    upper, small = (
        encode_text(text, as_preprocess(cased.content))[0].tolist()
        for text in ("DATASET", "dataset")
    )
    assert upper != small
    forced = as_preprocess(lower_first(cased.content))
    assert encode_text("DATASET", forced)[0].tolist() == small


def test_a_length_of_ten_to_the_thirty_is_none(tmp_path):
    shutil.copy(GOLDEN / "bert" / "vocab.txt", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    assert read_tokenizer(tmp_path, "bert").max_length is None


def test_weights_without_a_tokenizer_are_told_which_files_are_missing(tmp_path):
    with pytest.raises(WeightsError, match=r"neither tokenizer.json nor vocab.txt"):
        read_tokenizer(tmp_path, "bert")
    shutil.copy(GOLDEN / "gpt2" / "vocab.json", tmp_path)
    with pytest.raises(WeightsError, match="nor vocab.json with merges.txt"):
        read_tokenizer(tmp_path, "gpt2")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("tokenizer.json", b"{", "tokenizer.json .* cannot be used: Expecting"),
        ("tokenizer.json", b"[]", "it is no object"),
        ("tokenizer.json", b'{"model": 3}', "tokenizer.json .* cannot be used"),
        ("tokenizer.json", b"\xff\xfe", "cannot be used: .*utf-8"),
        ("vocab.txt", b"a\nb\n", r"it lacks \[CLS\] and \[SEP\]"),
    ],
)
def test_a_damaged_tokenizer_is_one_sentence(tmp_path, file, content, words):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        read_tokenizer(tmp_path, "bert")


def test_a_line_of_merges_that_is_no_pair_is_told(tmp_path):
    shutil.copy(GOLDEN / "gpt2" / "vocab.json", tmp_path)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(WeightsError, match="merges.txt .* a line is no pair"):
        read_tokenizer(tmp_path, "gpt2")
