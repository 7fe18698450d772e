"""Data that asks for trouble: every kind of head works on it, or says one sentence."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import DatasetError, RoomError
from tl_pipeline.stages import contest
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.train import train

KINDS = ["linear", "ridge", "knn", "centroid", "mlp"]
FEW = {"n_seeds": 1, "dropout": [0.0], "weight_decay": [0.0], "epochs": 30}
Import = Callable[..., str]


@pytest.fixture
def imported(tmp_path: Path) -> Import:
    def imported(features: np.ndarray, targets: np.ndarray, **columns: object) -> str:
        path = tmp_path / "data.npz"
        ids = np.array([f"{row:06}" for row in range(len(targets))])
        names = np.array([f"class {target}" for target in targets])
        np.savez(path, pool=features, target=names, id=ids, **columns)  # pyright: ignore
        made = {"backbone": "b", "weights": "w", "dataset": "data"}
        return import_features([path], store_root=tmp_path / "stores", **made).store

    return imported


@pytest.mark.parametrize("kind", KINDS)
def test_constant_features_and_a_class_of_one_example_spoil_nothing(
    kind: str, imported: Import, tmp_path: Path
):
    rng = np.random.default_rng(0)
    targets = np.arange(240) % 3
    features = np.full((240, 8), 3.0, np.float32)
    features[:, :3] = rng.normal(size=(240, 3)) + 4 * np.eye(3)[targets]
    splits = np.where(np.arange(240) % 4 == 3, "test", "train")
    targets[0] = 9  # absent from all folds but one
    store = imported(features, targets, split=splits)
    asked = {"selection": "cv", "n_folds": 3, "l2": [0.01], "k": [5], **FEW}
    if kind == "mlp":
        asked |= {"learning_rate": [0.05], "hidden": [8]}
    report = train(store, run_root=tmp_path / "runs", kinds=[kind], **asked)
    assert report.test["accuracy"]["value"] > 0.8
    assert np.isfinite(report.val["log_loss"]["value"])


@pytest.mark.parametrize("kind", KINDS[:4])
def test_more_features_than_rows_are_no_obstacle(
    kind: str, imported: Import, tmp_path: Path
):
    rng = np.random.default_rng(0)
    targets = np.arange(120) % 2
    features = rng.normal(size=(120, 700)).astype(np.float32)
    features[:, :20] += 1.5 * targets[:, None]
    splits = np.repeat(["train", "test"], 60)
    report = train(
        imported(features, targets, split=splits),
        run_root=tmp_path / "runs",
        kinds=[kind],
        l2=[1.0],
        k=[5],
    )
    assert report.selection["method"] == "cv"
    assert report.test["accuracy"]["value"] > 0.8


def test_ten_thousand_classes_are_told_apart(imported: Import, tmp_path: Path):
    rng = np.random.default_rng(0)
    n_classes = 10_000
    centers = rng.normal(size=(n_classes, 24)).astype(np.float32)
    targets = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 240)])
    features = centers[targets] + 0.1 * rng.normal(size=(len(targets), 24))
    splits = np.repeat(["train", "val", "test"], [n_classes, 120, 120])
    report = train(
        imported(features.astype(np.float32), targets, split=splits),
        run_root=tmp_path / "runs",
        kinds=["centroid"],
        selection="val",
    )
    assert report.test["accuracy"]["value"] > 0.9
    assert "top_5_accuracy" in report.test
    # The confusions of 120 examples, and no matrix of a hundred million zeros.
    files = {path.name: path.stat().st_size for path in Path(report.run).iterdir()}
    assert files["metrics.json"] < 5e6
    assert "hardest of 10,000 classes" in Path(report.report).read_text()


def test_answers_that_cannot_fit_in_memory_are_refused_beforehand(
    imported: Import, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    targets = np.arange(90) % 3
    features = np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)
    splits = np.repeat(["train", "val", "test"], 30)
    store = imported(features, targets, split=splits)
    # 30 examples, 3 classes, float64: 720 bytes a head, of 17 heads and 7 copies.
    monkeypatch.setattr(contest, "find_host_free", lambda: 24 * 720 - 1)
    with pytest.raises(RoomError, match="17 heads of 3 outputs.*KiB can be had"):
        train(store, run_root=tmp_path / "runs")
    monkeypatch.setattr(contest, "find_host_free", lambda: 24 * 720)
    train(store, run_root=tmp_path / "runs")


def test_features_that_are_all_the_same_are_one_sentence(
    imported: Import, tmp_path: Path
):
    store = imported(np.ones((90, 4), np.float32), np.arange(90) % 3)
    with pytest.raises(DatasetError, match="at least two|it has no labeled"):
        train(store, run_root=tmp_path / "runs")
