"""Heads on the columns of all layers that matter most, from the store to `predict`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_pipeline.cli import main
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import RequestError
from tl_pipeline.heads.head import Head
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train

N = 300


def import_layers(
    root: Path, layers: dict[str, np.ndarray], targets: np.ndarray, splits: Any
) -> str:
    root.mkdir(parents=True, exist_ok=True)
    ids = np.array([f"{row:064x}" for row in range(len(targets))])
    arrays = {"target": targets, "id": ids, "content_digest": ids}
    np.savez(root / "f.npz", **layers, **arrays, split=splits)
    made = {"backbone": "some net", "weights": "theirs", "dataset": "planted"}
    return import_features([root / "f.npz"], store_root=root / "stores", **made).store


def planted(test_shift: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray, Any]:
    """Three layers; what matters is in columns 5 and 77 of the first and 2 of the last.

    The test rows can be others, in features and targets.
    """
    rng = np.random.default_rng(0)
    splits = np.array(["train"] * 160 + ["val"] * 60 + ["test"] * 80)
    layers = {
        name: rng.normal(size=(N, width)).astype(np.float32)
        for name, width in (("early", 200), ("late", 30), ("middle", 90))
    }
    sums = layers["early"][:, 5] + layers["early"][:, 77] + layers["late"][:, 2] / 2
    targets = np.where(sums > 0, "up", "down")
    if test_shift:
        tests = splits == "test"
        for rows in layers.values():
            rows[tests] = rows[tests] * test_shift + 1
        targets[tests] = np.where(targets[tests] == "up", "down", "up")
    return layers, targets, splits


ASKED: dict[str, Any] = {"kinds": ["ridge"], "l2": [0.01], "standardize": False}


def test_selected_columns_beat_the_last_layer_and_all_of_them(tmp_path: Path):
    store = import_layers(tmp_path, *planted())
    found = train(
        store,
        run_root=tmp_path / "runs",
        features=["late", "all"],
        select_features=[3 / 320, 0.3, 1.0],
        **ASKED,
    )
    assert found.heads_trained == len(found.candidates) == 4
    assert found.chosen["settings"]["columns"] == 3
    assert found.chosen["settings"]["columns_of"] == 230
    run = load_run(found.run)
    # The layer of which no column is kept is not needed, nor named.
    assert found.chosen["settings"]["feature"] == "early+late"
    assert run.head_arrays()["preparation.columns"].tolist() == [5, 77, 202]
    assert found.test["accuracy"]["value"] > 0.9
    last, _, _, everything = found.candidates
    assert (last["feature"], everything["columns"]) == ("late", 320)
    assert last["accuracy"] < 0.7 and everything["accuracy"] < 0.9


@pytest.mark.parametrize("selection", ["val", "cv"])
def test_test_rows_have_no_part_in_the_columns_or_the_head(
    tmp_path: Path, selection: str
):
    heads = []
    for name, shift in (("plain", 0.0), ("other", 30.0)):
        store = import_layers(tmp_path / name, *planted(shift))
        found = train(
            store,
            run_root=tmp_path / name / "runs",
            select_features=[0.01, 0.05],
            selection=selection,
            n_folds=2,
            **ASKED,
        )
        heads.append((Path(found.run) / "head.safetensors").read_bytes())
        assert found.test["accuracy"]["value"] > 0.9 or shift
    assert heads[0] == heads[1]


def test_a_fold_has_no_part_in_the_columns_by_which_it_is_predicted(tmp_path: Path):
    # Nothing is to be learned, but some of 2,000 columns go with any labels by chance.
    rng = np.random.default_rng(4)
    layers = {name: rng.normal(size=(120, 1000)) for name in ("one", "two")}
    targets = np.where(rng.permutation(120) % 2, "x", "y")
    splits = np.array(["train"] * 80 + ["test"] * 40)
    store = import_layers(tmp_path, layers, targets, splits)
    options = {"select_features": [0.01], "selection": "cv", "features": ["all"]}
    found = train(store, run_root=tmp_path / "runs", **ASKED, **options)
    assert found.candidates[0]["accuracy"] < 0.7


def test_one_layer_alone_leaves_nothing_to_select_among(tmp_path: Path):
    layers, targets, splits = planted()
    store = import_layers(tmp_path, {"late": layers["late"]}, targets, splits)
    with pytest.raises(RequestError, match="select_features on late"):
        train(store, run_root=tmp_path / "runs", select_features=[0.1])


def test_layers_of_a_real_network_from_the_command_line_to_its_predictions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    data = load_dataset("builtin:digits-shifted")
    extracted = extract(
        data,
        load_backbone("digits_cnn", weights="pretrained"),
        features=["pool", "stage1:max", "stage2"],
        store_root=tmp_path / "stores",
    )
    words = f"train --store {extracted.store} --run-root {tmp_path / 'runs'}"
    words += " --features pool all --heads ridge --l2 0.01 --select-features 0.01 0.1"
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--json"])
    assert ended.value.code == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["chosen"]["settings"]["columns"] == 42
    assert "ridge on pool+stage1:max+stage2" in told.err
    last, *_ = found["candidates"]
    assert found["val"]["log_loss"]["value"] < last["log_loss"]
    run = load_run(found["run"])
    kept = run.predictions()
    said = {one.id: one.probabilities for one in predict(run.path, data.source)}
    again = [[said[id][name] for name in kept.task.names] for id in kept.ids]
    np.testing.assert_allclose(again, kept.outputs, atol=1e-5)
    head = Head.from_arrays(run.head, run.head_arrays())
    assert head.preparation.kept is not None
    assert head.preparation.kept.width == 64 + 32 + 8 * 8 * 64
