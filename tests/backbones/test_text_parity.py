"""transformers' text networks: golden files that golden/make_text.py wrote."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.backbones import bert, clip_text, distilbert, gpt2, registry, roberta
from tl_pipeline.backbones.byte_tokens import byte_preprocess
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.weights.safetensors import write_safetensors

sys.path.append(str(Path(__file__).parent))

from golden_cases import (  # noqa: E402
    FOLDER,
    check_case,
    check_names,
    load_golden,
)
from seeded import draw_all, draw_ids, unfold_names  # noqa: E402

GOLDEN = load_golden("text")
FAMILIES = (bert, clip_text, distilbert, gpt2, roberta)
SMALL = {"width": 32, "depth": 3, "heads": 4, "vocabulary": 300, "positions": 40}


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    """Each family's table with a small row, which the same code makes."""
    for family in FAMILIES:
        name = family.__name__.rpartition(".")[2]
        shape = next(iter(family.VARIANTS.values()))._replace(**SMALL)
        shape = shape._replace(embedding=32 if shape.embedding else 0)
        monkeypatch.setitem(family.VARIANTS, f"{name}_tiny", shape)
        monkeypatch.setitem(registry._MODULES, f"{name}_tiny", family.__name__)


def write_folder(folder, golden):
    """Writes a golden case's weights, and a tokenizer beside them."""
    folder.mkdir(exist_ok=True)
    arrays = draw_all(unfold_names(golden["names"]), small=golden["small"])
    write_safetensors(folder / "model.safetensors", arrays, metadata={})
    (folder / "tokenizer.json").write_text(byte_preprocess(40).content)
    return folder


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_every_layer_of_a_padded_batch_is_that_of_transformers(tmp_path, case):
    golden = GOLDEN["cases"][case]
    backbone = load_backbone(
        f"{golden['row']}_tiny", weights=write_folder(tmp_path / "w", golden)
    )
    assert list(backbone.feature_shapes()) == list(golden["outputs"])
    ids = draw_ids(golden["vocabulary"], tuple(golden["lengths"]))
    outputs = backbone.make_forward(list(golden["outputs"]))(ids)
    pairs = {}
    for name, theirs in golden["outputs"].items():
        ours = np.asarray(outputs[name])
        if name.startswith("layer"):  # zeros up to the longest length of all
            assert not ours[:, ids.shape[1] :].any()
            ours = ours[:, : ids.shape[1]]
        pairs[name] = ours, theirs
    check_case(pairs)


@pytest.mark.parametrize("name", GOLDEN["names"])
def test_each_published_file_has_a_place_for_all_it_holds(name):
    check_names(name, "transformers", GOLDEN["names"][name])


def test_every_variant_is_checked():
    families = [family.__name__.rpartition(".")[2] for family in FAMILIES]
    names = {name for family in families for name in registry._FAMILIES[family]}
    assert names == set(GOLDEN["names"])


def test_a_file_of_pytorchs_with_old_names_is_its_tensors(tmp_path, monkeypatch):
    shape = bert.VARIANTS["bert_tiny"]._replace(width=16, depth=1)
    monkeypatch.setitem(bert.VARIANTS, "bert_tiny", shape)
    golden = {"names": GOLDEN["bin"]["names"], "small": 1.0}
    folders = [tmp_path / "bin", write_folder(tmp_path / "safetensors", golden)]
    folders[0].mkdir()
    shutil.copy(FOLDER / "bert.bin", folders[0] / "pytorch_model.bin")
    shutil.copy(folders[1] / "tokenizer.json", folders[0])
    torch, safe = (load_backbone("bert_tiny", weights=folder) for folder in folders)
    assert torch.weights_digest == safe.weights_digest
    assert torch.preprocess == safe.preprocess
    assert torch.weights_origin["file"] == "pytorch_model.bin"


def test_poolings_see_the_tokens_that_there_are_and_no_others(tmp_path):
    golden = GOLDEN["cases"]["BertModel"]
    backbone = load_backbone("bert_tiny", weights=write_folder(tmp_path / "w", golden))
    ids = draw_ids(golden["vocabulary"], tuple(golden["lengths"]))
    names = ["layer2", *(f"layer2:{p}" for p in ("cls", "mean", "last", "max"))]
    outputs = {k: np.asarray(x) for k, x in backbone.make_forward(names)(ids).items()}
    for row, length in enumerate(golden["lengths"]):
        tokens = outputs["layer2"][row, :length]
        expected = {
            "cls": tokens[0],
            "last": tokens[-1],
            "max": tokens.max(axis=0),
            "mean": tokens.mean(axis=0),
        }
        for pooling, values in expected.items():
            found = outputs[f"layer2:{pooling}"][row]
            np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


def test_a_row_does_not_depend_on_the_length_that_it_is_padded_to(tmp_path):
    golden = GOLDEN["cases"]["RobertaModel"]
    backbone = load_backbone(
        "roberta_tiny", weights=write_folder(tmp_path / "w", golden)
    )
    forward = backbone.make_forward(["layer3", "layer3:mean", "pooler"])
    ids = draw_ids(golden["vocabulary"], tuple(golden["lengths"]))
    longer = np.pad(ids, ((0, 0), (0, 8)), constant_values=-1)
    for name, rows in forward(ids).items():
        other = np.asarray(forward(longer)[name])
        np.testing.assert_allclose(np.asarray(rows), other, rtol=1e-4, atol=1e-5)
