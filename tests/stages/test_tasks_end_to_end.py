"""Labels, numbers, weights and slices of a table, from pictures to the scored head."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.config import make_config
from tl_pipeline.errors import RequestError
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.compare_runs import compare_runs
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train

N = 240


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of pictures: brightness by number, red and green by label, two cameras.

    The camera `old` has twice as much noise.
    """
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(N):
        red, green = rng.integers(0, 2, 2)
        level = rng.uniform(0, 60)
        camera = ("old", "new")[i % 2]
        mean = np.array([60 + 60 * red, 60 + 60 * green, 60]) + level
        noise = rng.normal(0, 60 if camera == "old" else 20, (12, 12, 3))
        pixels = (mean + noise).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
        split = ("train", "train", "val", "test")[i // 2 % 4]
        known = "" if i % 10 == 0 else str(green)
        weight = "0" if camera == "old" else "1"
        said = red ^ (rng.random() < 0.15)  # what a careless person says it is
        row = [f"{i:03d}.png", red, known, f"{level:.3f}", camera, weight, split, said]
        rows.append([*row, red & (i % 3 == 0)])
    with (folder / "t.csv").open("w", newline="") as file:
        names = ["path", "red", "green", "level", "camera", "w", "split", "said"]
        names.append("rare")
        csv.writer(file).writerows([names, *rows])
    return folder / "t.csv"


def run(table: Path, root: Path, data: dict[str, Any], heads: dict[str, Any]) -> Any:
    config = {
        "data": {"source": str(table), **data},
        "backbone": {"name": "pixels"},
        "store": {"root": str(root / "stores")},
        "run": {"root": str(root / "runs")},
        "heads": heads,
        "baselines": {"names": []},
    }
    return run_local(make_config(config, where="here"))


def test_labels_are_learned_each_with_its_missing_ones(table: Path, tmp_path: Path):
    summary = run(table, tmp_path, {"target": ["red", "green"]}, {"kinds": ["ridge"]})
    trained = summary["train"]
    assert trained["task"] == "multilabel"
    assert trained["test"]["f1_macro"]["value"] > 0.9
    assert trained["test"]["log_loss"]["low"] <= trained["test"]["log_loss"]["value"]
    found = load_run(trained["run"])
    assert found.head["classes"] == ["red", "green"]
    kept = found.predictions()
    assert np.isnan(kept.targets[:, 1]).any() and not np.isnan(kept.targets[:, 0]).any()
    (one,) = predict(found.path, table.parent / "000.png")
    assert set(one.probabilities) == {"red", "green"}
    page = Path(trained["report"]).read_text()
    assert "Surest mistakes" not in page
    assert "subset accuracy" in page


def test_numbers_are_learned_and_judged_by_their_errors(table: Path, tmp_path: Path):
    summary = run(
        table,
        tmp_path,
        {"target": "level"},
        {"kinds": ["linear", "knn"], "selection": "cv", "n_folds": 3},
    )
    trained = summary["train"]
    assert trained["task"] == "regression"
    assert trained["test"]["r2"]["value"] > 0.5
    assert {"mean_absolute_error", "spearman"} <= trained["test"].keys()
    assert trained["selection"]["method"] == "cv"
    kinds = {candidate["kind"] for candidate in trained["candidates"]}
    assert kinds == {"ridge", "knn"}
    assert summary["promotion"]["verdict"] == "promote"


@pytest.mark.parametrize(
    ("target", "decide_by"), [("rare", "f1"), (["rare", "green"], "balanced_accuracy")]
)
def test_thresholds_fitted_on_val_decide_wherever_the_head_does(
    table: Path, tmp_path: Path, target: str | list[str], decide_by: str
):
    data = {"target": target, "slices": ["camera"]}
    # Strong enough a penalty for shares to stay near what is frequent.
    heads = {"decide_by": decide_by, "l2": [10.0]}
    trained = run(table, tmp_path, data, heads)["train"]
    found = load_run(trained["run"])
    least = np.array(found.head["thresholds"])
    calibration = found.metrics["calibration"]
    assert calibration["thresholds_applied"]
    assert least.tolist() == calibration["thresholds"]
    assert (np.abs(least - 0.5) > 0.01).any()
    measure = "f1" if target == "rare" else "f1_macro"
    thresholded = calibration["test_thresholded"][measure]
    assert found.metrics["test"][measure]["value"] == pytest.approx(thresholded)
    plain = run(table, tmp_path / "half", data, {"l2": [10.0]})["train"]
    assert thresholded > plain["test"][measure]["value"] + 0.05

    kept = found.predictions()
    assert kept.thresholds == tuple(least)
    said = {one.id: one for one in predict(found.path, table)}
    by_slice = found.metrics["slices"][0]["slices"]
    for row, id in enumerate(kept.ids):
        guess = kept.outputs[row, 1:] if target == "rare" else kept.outputs[row]
        yes = (guess > least).tolist()
        if target == "rare":
            assert said[id].label == ("1" if yes[0] else "0")
        else:
            names = [name for name, one in zip(target, yes, strict=True) if one]
            assert list(said[id].labels) == names
            assert said[id].describe().split("  ")[::2] == (names or ["none"])
    assert {one["n"] for one in by_slice} == {30}
    same = compare_runs(plain["run"], trained["run"])
    assert abs(float(same["metrics"][0]["second"]) - _accuracy(kept)) < 1e-9  # pyright: ignore


def _accuracy(kept: Predictions) -> float:
    rows = np.array([split == "test" for split in kept.splits])
    truth, outputs = kept.targets[rows], kept.outputs[rows]
    if truth.ndim == 1:
        return float(((outputs[:, 1] > kept.thresholds[0]) == truth).mean())
    known = ~np.isnan(truth)
    right = ((outputs > kept.thresholds) == truth) & known
    return float((right.sum(axis=1) / known.sum(axis=1)).mean())


def test_slices_are_scored_apart_worst_first(table: Path, tmp_path: Path):
    summary = run(table, tmp_path, {"target": "red", "slices": ["camera"]}, {})
    metrics = load_run(summary["train"]["run"]).metrics
    (by_camera,) = metrics["slices"]
    assert by_camera["column"] == "camera"
    assert sorted(one["group"] for one in by_camera["slices"]) == ["new", "old"]
    assert all(one["n"] == 30 for one in by_camera["slices"])
    assert "error_difference" in by_camera["differences"][0]
    assert metrics["calibration"]["temperature"] > 0
    with pytest.raises(RequestError, match="column 'lens'"):
        train(summary["extract"]["store"], run_root=tmp_path, slices=["lens"])


def test_what_weighs_nothing_has_no_part_in_a_head(table: Path, tmp_path: Path):
    data = {"target": "red", "weight": "w"}
    weighted = run(table, tmp_path, data, {"standardize": False})
    head = load_run(weighted["train"]["run"])
    plain = run(table, tmp_path / "plain", {"target": "red"}, {"standardize": False})
    other = load_run(plain["train"]["run"])
    assert head.identity != other.identity
    same = np.abs(head.head_arrays()["kernel"] - other.head_arrays()["kernel"])
    assert same.max() > 1e-3


def test_a_calibrated_head_keeps_its_decisions_and_its_temperature(
    table: Path, tmp_path: Path
):
    asked = {"l2": [1e-4], "selection": "cv"}
    plain = run(table, tmp_path, {"target": "said"}, asked)["train"]
    asked["calibrate"] = True
    calibrated = run(table, tmp_path, {"target": "said"}, asked)["train"]
    assert plain["test"]["accuracy"] == calibrated["test"]["accuracy"]
    found = load_run(calibrated["run"])
    assert found.head["temperature"] > 1  # all but interpolated: too sure of itself
    assert found.metrics["calibration"]["applied"]
    before = load_run(plain["run"]).predictions().outputs
    after = found.predictions().outputs
    assert after.max(axis=1).mean() < before.max(axis=1).mean()


def test_features_that_are_concatenated_know_what_neither_knows(tmp_path: Path):
    # Each feature alone says nothing of an exclusive or of signs plus their sum.
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 400, 3)).astype(np.float32)
    targets = np.where(left[:, 0] + right[:, 0] > 0, "up", "down")
    np.savez(
        tmp_path / "f.npz",
        left=left,
        right=right,
        ids=np.array([f"{i:04d}" for i in range(400)]),
        targets=targets,
    )
    imported = import_features(
        [tmp_path / "f.npz"],
        backbone="two halves",
        weights="none",
        dataset="sums",
        store_root=tmp_path / "stores",
    )
    asked = {"run_root": tmp_path / "runs", "selection": "cv"}
    alone = train(imported.store, features=["left"], **asked)
    both = train(imported.store, features=["left", "right", "left+right"], **asked)
    assert alone.test["accuracy"]["value"] < 0.85
    assert both.chosen["settings"]["feature"] == "left+right"
    assert both.test["accuracy"]["value"] > 0.93
