import json

import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.sentence_files import SentenceFiles, read_sentence_files

OLD = "sentence_transformers.models."
POOLING = {
    "word_embedding_dimension": 384,
    "pooling_mode_cls_token": False,
    "pooling_mode_mean_tokens": True,
    "pooling_mode_max_tokens": False,
    "pooling_mode_mean_sqrt_len_tokens": False,
}


def write(folder, *kinds, pooling=POOLING, lengths=None, prefix=OLD):
    modules = [
        {"idx": i, "name": str(i), "path": f"{i}_{k}" if i else "", "type": prefix + k}
        for i, k in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if lengths is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps(lengths))
    return read_sentence_files(folder)


def test_the_pooling_and_what_follows_it_are_read(tmp_path):
    lengths = {"max_seq_length": 256, "do_lower_case": False}
    found = write(tmp_path, "Transformer", "Pooling", "Normalize", lengths=lengths)
    assert found == SentenceFiles("mean", True, 256, False)
    found = write(tmp_path, "Transformer", "Pooling", lengths={"do_lower_case": True})
    assert found == SentenceFiles("mean", False, None, True)


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_lasttoken", "last"),
        ("pooling_mode_mean_sqrt_len_tokens", ""),
    ],
)
def test_each_mode_is_the_pooling_of_its_name(tmp_path, mode, pooling):
    said = {**POOLING, "pooling_mode_mean_tokens": False, mode: True}
    assert write(tmp_path, "Transformer", "Pooling", pooling=said).pooling == pooling


def test_modes_that_are_joined_and_further_layers_make_no_sentence(tmp_path):
    both = POOLING | {"pooling_mode_cls_token": True}
    assert write(tmp_path, "Transformer", "Pooling", pooling=both).pooling == ""
    found = write(tmp_path, "Transformer", "Pooling", "Dense", "Normalize")
    assert found == SentenceFiles()


def test_the_words_of_later_versions_are_known(tmp_path):
    prefix = "sentence_transformers.sentence_transformer.modules."
    said = {"pooling_mode": "lasttoken"}
    found = write(tmp_path, "Transformer", "Pooling", pooling=said, prefix=prefix)
    assert found.pooling == "last"


def test_no_files_say_nothing_and_broken_ones_are_told(tmp_path):
    assert read_sentence_files(tmp_path) == SentenceFiles()
    (tmp_path / "modules.json").write_text("[{")
    with pytest.raises(WeightsError, match="modules.json .* cannot be used"):
        read_sentence_files(tmp_path)
    (tmp_path / "modules.json").write_text("{}")
    with pytest.raises(WeightsError, match="it lists no modules"):
        read_sentence_files(tmp_path)
