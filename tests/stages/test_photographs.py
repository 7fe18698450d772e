"""Real photographs with real ImageNet weights, where the environment has them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tl_pipeline.config import make_config
from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.preprocessing import preprocess_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.heads.grid import sklearn_c
from tl_pipeline.heads.linear import fit_linear, predict_logits
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.heads_config import L2_GRID
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.choosing import choose_rows
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.labeled import load_labeled
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.sweep import choose_candidate, sweep
from tl_pipeline.store.store import open_store

GIF = "train/ants/imageNotFound.gif"


@pytest.fixture(scope="module")
def weights(realdata: Path) -> Path:
    return realdata / "weights" / "mobilenet_v2_imagenet_keras.h5"


@pytest.fixture(scope="module")
def mobilenet(weights: Path) -> Backbone:
    return load_backbone("mobilenet_v2", weights=weights)


@pytest.fixture(scope="module")
def hymenoptera(realdata: Path) -> Path:
    return realdata / "images" / "hymenoptera"


@pytest.fixture(scope="module")
def store_root(
    tmp_path_factory: pytest.TempPathFactory, mobilenet: Backbone, hymenoptera: Path
) -> Path:
    """The stores, with all of hymenoptera extracted once for all tests below."""
    root = tmp_path_factory.mktemp("photographs")
    report = extract(
        load_dataset(hymenoptera, exclude=["*.gif"]),
        mobilenet,
        features=["pool"],
        store_root=root,
    )
    assert (report.examples, report.rows_computed, report.failures) == (397, 397, ())
    assert report.parity["max_difference"] == 0  # same shape, versions and machine
    return root


def test_the_head_is_right_on_95_percent_over_carve_outs(store_root: Path):
    (path,) = store_root.glob("mobilenet_v2-*")
    store = open_store(path)
    data = load_labeled(store, "pool", store.snapshot())
    accuracies = []
    for seed in range(10):  # other carve-outs of validation from train
        rng = np.random.default_rng(seed)
        splits = data.splits.copy()
        train = np.flatnonzero(splits != "test")
        splits[train] = "train"  # of one size each time: one compilation
        splits[rng.choice(train, len(train) * 15 // 100, replace=False)] = "val"
        carved = type(data)(**{**vars(data), "splits": splits})
        settings = [{"l2": strength} for strength in L2_GRID]
        choosing = choose_rows(carved, method="val")
        candidates = sweep(carved, "linear", settings, choosing=choosing)
        head = candidates[choose_candidate(candidates)].head
        test = carved.split("test")
        right = head.predict(test.features).argmax(axis=1) == test.targets
        accuracies.append(right.mean())
    assert len(test.targets) == 153
    assert np.mean(accuracies) >= 0.95, accuracies


def test_heads_on_photographs_reach_the_optimum_of_scikit_learn(store_root: Path):
    (path,) = store_root.glob("mobilenet_v2-*")
    store = open_store(path)
    data = load_labeled(store, "pool", store.snapshot())
    train, test = data.split("train"), data.split("test")
    standardizer = fit_standardizer(train.features)
    features = apply_standardizer(standardizer, train.features)
    unseen = apply_standardizer(standardizer, test.features)
    heads = fit_linear(features, train.targets, n_classes=2, l2=L2_GRID)
    logits = predict_logits(heads, unseen)
    same = []
    for index in range(0, len(L2_GRID), 4):
        c = sklearn_c(L2_GRID[index], len(features))
        oracle = LogisticRegression(C=c, tol=1e-9, max_iter=3000)
        oracle.fit(features.astype(np.float64), train.targets)
        margin = oracle.decision_function(features.astype(np.float64))
        signed = np.where(train.targets == 1, margin, -margin)
        best = np.logaddexp(0, -signed).mean()
        best += L2_GRID[index] / 2 * np.square(oracle.coef_).sum()
        assert heads.converged[index]
        assert heads.loss[index] == pytest.approx(best, rel=1e-4)
        same.append(logits[index].argmax(axis=1) == oracle.predict(unseen))
    assert np.mean(same) >= 0.999


def test_the_lone_gif_decodes_is_listed_and_left_out_by_exclude_only(
    hymenoptera: Path, mobilenet: Backbone
):
    dataset = load_dataset(hymenoptera)
    assert any(GIF in note for note in dataset.notes)
    (item,) = [item for item in dataset.items if item.id == GIF]
    image = preprocess_image(decode_image(dataset.read(item)), mobilenet.preprocess)
    assert image.shape == (224, 224, 3)
    assert len(load_dataset(hymenoptera, exclude=["*.gif"])) == len(dataset) - 1


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3)])
def test_a_stored_row_is_what_the_network_says_now(
    hymenoptera: Path, mobilenet: Backbone, tmp_path: Path, dtype: str, tolerance: float
):
    # One image at a time is another compiled shape than the store's: hence 1e-5.
    photos = copy_some(hymenoptera, tmp_path / "photos", 4)
    report = extract(
        load_dataset(photos),
        mobilenet,
        features=["pool", "block3:avg", "logits"],
        store_root=tmp_path / "stores",
        store_dtype=dtype,
        batch_size=8,
    )
    store, dataset = open_store(report.store), load_dataset(photos)
    features = ["pool", "block3:avg", "logits"]
    forward = mobilenet.make_forward(features)
    for name in features:
        rows = store.read(name)
        for item in dataset.items:
            image = decode_image(dataset.read(item))
            batch = preprocess_image(image, mobilenet.preprocess)[None]
            live = np.asarray(forward(batch)[name])[0]
            stored = rows.features[rows.ids.index(item.id)].astype(np.float32)
            assert np.abs(stored - live).max() <= tolerance * np.abs(live).max()


def test_a_second_feature_computes_that_feature_only(
    hymenoptera: Path, mobilenet: Backbone, tmp_path: Path
):
    photos = copy_some(hymenoptera, tmp_path / "photos", 3)
    options: dict[str, Any] = {"store_root": tmp_path / "stores", "batch_size": 8}
    dataset = load_dataset(photos)
    first = extract(dataset, mobilenet, features=["pool"], **options)
    shards = {path.name for path in Path(first.store).glob("shards/*")}
    second = extract(dataset, mobilenet, features=["pool", "block3:avg"], **options)
    assert (second.store, second.rows_computed) == (first.store, 6)
    (new,) = {path.name for path in Path(first.store).glob("shards/*")} - shards
    (entry,) = [s for s in open_store(first.store).manifest.shards if s.name == new]
    assert entry.features == ("block3:avg",)
    third = extract(dataset, mobilenet, features=["block3:avg"], **options)
    assert (third.rows_computed, third.inputs_opened) == (0, 0)


def test_a_file_with_and_one_without_the_top_share_a_store(
    weights: Path, mobilenet: Backbone, tmp_path: Path
):
    import h5py

    bare = tmp_path / "no_top.h5"
    shutil.copy(weights, bare)
    with h5py.File(bare, "r+") as file:
        names = [n for n in file.attrs["layer_names"] if "predictions" not in str(n)]
        file.attrs["layer_names"] = names
    without = load_backbone("mobilenet_v2", weights=bare)
    assert without.weights_digest == mobilenet.weights_digest
    assert without.classifier_digest is None
    assert "logits" not in without.feature_shapes()


def test_the_pipeline_finds_transfer_positive_and_predicts_new_photographs(
    hymenoptera: Path, weights: Path, tmp_path: Path
):
    photos = copy_some(hymenoptera, tmp_path / "photos", 60)
    config = make_config(
        {
            "data": {"source": str(photos)},
            "backbone": {"name": "mobilenet_v2", "weights": str(weights)},
            "store": {"root": str(tmp_path / "stores")},
            "heads": {"l2": [0.01, 0.1]},
            "baselines": {"names": ["pixels"]},
            "run": {"root": str(tmp_path / "runs")},
        },
        where="test",
    )
    summary: Any = run_local(config)
    assert summary["extract"]["inputs_opened"] == 120  # pixels ride along
    assert summary["transfer"]["verdict"] == "positive"
    unseen = predict(summary["train"]["run"], hymenoptera / "val" / "ants")
    assert np.mean([one.label == "ants" for one in unseen[:20]]) > 0.8


def copy_some(hymenoptera: Path, folder: Path, n: int) -> Path:
    for name in ("ants", "bees"):
        (folder / name).mkdir(parents=True)
        for path in sorted((hymenoptera / "train" / name).glob("*.jpg"))[:n]:
            shutil.copy(path, folder / name)
    return folder
