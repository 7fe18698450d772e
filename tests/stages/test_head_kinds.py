"""Every kind of head end to end, on a store that holds grids too."""

import json
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.cli import main
from tl_pipeline.config import load_config
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train


def test_attention_finds_the_place_that_an_average_drowns(tmp_path: Path):
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(300, 3, 3, 4)).astype(np.float32)
    grid[..., 0] = 0
    rows, places = np.arange(300), rng.integers(0, 3, (2, 300))
    grid[rows, places[0], places[1], 0] = 3  # the marked place
    targets = np.where(grid[rows, places[0], places[1], 1] > 0, "up", "down")
    ids = np.array([f"{row:03}" for row in rows])
    arrays = {"grid": grid, "grid:avg": grid.mean(axis=(1, 2)), "target": targets}
    np.savez(tmp_path / "f.npz", **arrays, id=ids)
    made = {"backbone": "some net", "weights": "theirs", "dataset": "marked"}
    store = import_features([tmp_path / "f.npz"], store_root=tmp_path, **made).store
    options = {"weight_decay": [0.0], "learning_rate": [0.1], "n_seeds": 1}
    found = train(
        store,
        run_root=tmp_path / "runs",
        kinds=["attention", "ridge"],
        l2=[0.1],
        selection="val",
        optimizer="adam",
        optimizer_arguments={"b2": 0.99},
        schedule="cosine_decay_schedule",
        **options,
    )
    assert found.chosen["kind"] == "attention"
    assert found.chosen["settings"]["feature"] == "grid"
    assert found.chosen["settings"]["optimizer_arguments"] == {"b2": 0.99}
    assert found.test["accuracy"]["value"] > 0.9
    assert found.candidates[1]["accuracy"] < 0.8


def test_all_of_them_from_a_pipeline_file_to_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "p.toml").write_text(
        "[data]\nsource = 'builtin:digits-shifted'\n[backbone]\nname = 'digits_cnn'\n"
        "[heads]\nkinds = ['attention', 'dense512', 'dense128']\nepochs = 2\n"
        "n_seeds = 1\nensemble = 9\nweight_decay = [0.0]\nselection = 'val'\n"
        "optimizer = 'adam'\noptimizer_arguments = { b1 = 0.8 }\n"
    )
    heads = load_config(tmp_path / "p.toml").heads
    assert heads.optimizer_arguments == {"b1": 0.8}
    data = load_dataset("builtin:digits-shifted")
    store = extract(
        data,
        load_backbone("digits_cnn", weights="pretrained"),
        features=["stage2", "stage2:avg", "stage2:flatten"],
        store_root=tmp_path / "stores",
    ).store
    found = train(store, run_root=tmp_path / "runs", **heads.model_dump())
    tried = [(one["kind"], one["feature"]) for one in found.candidates[:3]]
    assert tried == [
        ("attention", "stage2"),
        ("mlp", "stage2:avg"),
        ("mlp", "stage2:flatten"),
    ]
    hidden = [one["hidden"] for one in found.candidates[:3]]
    assert hidden == [[], [128], [512]]
    # Heads that saw so little are best together.
    assert found.chosen["kind"] == "ensemble"
    one = {**heads.model_dump(), "kinds": ["attention"], "ensemble": 0}
    alone = train(store, run_root=tmp_path / "runs", **one)
    assert alone.chosen["kind"] == "attention"
    for run in (load_run(found.run), load_run(alone.run)):
        kept = run.predictions()
        said = {one.id: one.probabilities for one in predict(run.path, data.source)}
        again = [[said[id][name] for name in kept.task.names] for id in kept.ids]
        np.testing.assert_allclose(again, kept.outputs, atol=1e-5)
    words = f"train --store {store} --run-root {tmp_path / 'cli'} --heads attention"
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--features", "stage2:avg", "--json"])
    assert ended.value.code != 0
    assert "extract an output without pooling" in capsys.readouterr().err
    assert json.dumps(found.to_json())
