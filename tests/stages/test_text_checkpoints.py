"""Weights of text networks with what lies beside them."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.backbones import bert, registry, roberta
from tl_pipeline.errors import WeightsError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.targets import make_spec
from tl_pipeline.weights.safetensors import write_safetensors

TESTS = Path(__file__).parent.parent
sys.path.append(str(TESTS / "backbones"))

from golden_cases import load_golden  # noqa: E402
from seeded import draw_all, unfold_names  # noqa: E402

GOLDEN = load_golden("text")["cases"]
TOKENIZERS = TESTS / "golden" / "tokenizers"


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """The tables with small rows, of other sizes than the files below."""
    for family, name in ((bert, "minilm_l6"), (roberta, "roberta_base")):
        shape = family.VARIANTS[name]._replace(width=32, depth=3, heads=4)
        tiny = name.partition("_")[0] + "_tiny"
        monkeypatch.setitem(family.VARIANTS, tiny, shape)
        monkeypatch.setitem(registry._MODULES, tiny, family.__name__)


def write_folder(folder, case="BertModel", *, vocabulary=1000, tokenizer="bert"):
    """Writes a folder as a hub has it, its table of words of so many rows."""
    shapes = unfold_names(GOLDEN[case]["names"])
    shapes = {
        name: (vocabulary, *shape[1:]) if "word_embeddings" in name else shape
        for name, shape in shapes.items()
    }
    folder.mkdir()
    arrays = draw_all(shapes, small=1.0)
    write_safetensors(folder / "model.safetensors", arrays, metadata={})
    for file in (TOKENIZERS / tokenizer).iterdir():
        shutil.copy(file, folder)
    return folder


def write_sentence_files(folder, mode="pooling_mode_mean_tokens", length=24):
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"path": f"{i}_{kind}", "type": f"a.{kind}"} for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({mode: True}))
    lengths = json.dumps({"max_seq_length": length})
    (folder / "sentence_bert_config.json").write_text(lengths)


def test_a_folder_says_what_its_network_is(tmp_path):
    folder = write_folder(tmp_path / "w")
    plain = load_backbone("minilm_tiny", weights=folder)
    assert plain.settings == {
        "max_length": 40,
        "vocabulary": 1000,
        "positions": 40,
        "sentence": "",
        "normalize": False,
        "pooler": True,
    }
    assert "sentence" not in plain.feature_shapes()
    write_sentence_files(folder)
    told = load_backbone("minilm_tiny", weights=folder)
    assert told.feature_shapes()["sentence"] == (32,)
    assert told.settings["max_length"] == told.preprocess.max_length == 24
    assert told.weights_digest == plain.weights_digest
    asked = load_backbone("minilm_tiny", weights=folder, settings={"max_length": 16})
    assert asked.feature_shapes()["layer1"] == (16, 32)
    specs = {make_spec(b, store_dtype="float16").digest for b in (plain, told, asked)}
    assert len(specs) == 3


def test_a_file_in_a_folder_is_the_folder(tmp_path):
    folder = write_folder(tmp_path / "w")
    specs = [
        make_spec(load_backbone("minilm_tiny", weights=w), store_dtype="float16")
        for w in (folder, folder / "model.safetensors")
    ]
    assert specs[0] == specs[1]


def test_another_tokenizer_is_another_store(tmp_path):
    folder = write_folder(tmp_path / "w")
    first = load_backbone("minilm_tiny", weights=folder)
    words = (folder / "vocab.txt").read_text().split("\n")
    words[700], words[701] = words[701], words[700]
    (folder / "vocab.txt").write_text("\n".join(words))
    other = load_backbone("minilm_tiny", weights=folder)
    assert first.preprocess.tokenizer != other.preprocess.tokenizer
    assert first.weights_digest == other.weights_digest


def test_weights_without_a_pooler_have_no_such_feature(tmp_path):
    folder = write_folder(tmp_path / "w", "BertForTokenClassification")
    backbone = load_backbone("minilm_tiny", weights=folder)
    assert "pooler" not in backbone.feature_shapes()


def test_the_first_rows_of_robertas_positions_are_no_positions(tmp_path):
    folder = write_folder(tmp_path / "w", "RobertaModel", tokenizer="roberta")
    backbone = load_backbone("roberta_tiny", weights=folder)
    assert backbone.settings["positions"] == backbone.preprocess.max_length == 40


def test_a_tokenizer_of_other_weights_is_refused_in_one_sentence(tmp_path):
    folder = write_folder(tmp_path / "w", vocabulary=300)
    with pytest.raises(WeightsError, match=r"ids up to \d+, .* of 300 tokens: it bel"):
        load_backbone("minilm_tiny", weights=folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(WeightsError, match="neither tokenizer.json nor vocab.txt"):
        load_backbone("minilm_tiny", weights=folder)


def test_a_configuration_of_another_network_names_what_differs(tmp_path):
    folder = write_folder(tmp_path / "w")
    said = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-12,
    }
    (folder / "config.json").write_text(json.dumps(said))
    with pytest.raises(WeightsError) as caught:
        load_backbone("minilm_tiny", weights=folder)
    message = str(caught.value)
    assert "num_attention_heads: the file says 8, 4 is wanted" in message
    assert "hidden_act: the file says \"relu\", 'gelu' is wanted" in message
    assert "hidden_size" not in message
    right = said | {"num_attention_heads": 4, "hidden_act": "gelu"}
    (folder / "config.json").write_text(json.dumps(right))
    load_backbone("minilm_tiny", weights=folder)


def test_a_texts_features_are_those_of_its_tokens_alone(tmp_path):
    folder = write_folder(tmp_path / "w")
    write_sentence_files(folder, "pooling_mode_cls_token")
    backbone = load_backbone("minilm_tiny", weights=folder)
    ids = np.full((1, 8), -1, np.int32)
    ids[0, :3] = 5, 6, 7
    outputs = backbone.make_forward(["sentence", "layer3"])(ids)
    first = np.asarray(outputs["layer3"])[0, 0]
    expected = first / np.linalg.norm(first)
    np.testing.assert_allclose(outputs["sentence"][0], expected, atol=1e-6)
