from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError, RequestError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.rank import rank_stores
from tl_pipeline.stages.train import train


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Stores of the shifted digits: a pretrained network, an untrained one, pixels."""
    root = tmp_path_factory.mktemp("stores")
    data = load_dataset("builtin:digits-shifted")
    stores = {}
    for name, weights in (
        ("digits_cnn", "pretrained"),
        ("digits_cnn", "random:0"),
        ("pixels", None),
    ):
        options = {"weights": weights} if weights else {"settings": {"size": 16}}
        backbone = load_backbone(name, **options)  # type: ignore[arg-type]
        found = extract(data, backbone, features=["pool"], store_root=root)
        stores[f"{name} {weights}"] = found.store
    return stores


def test_the_ranking_is_that_of_trained_heads(digits: dict[str, str], tmp_path: Path):
    ranked = rank_stores(list(digits.values()), most_rows=400)
    order = [row["store"] for row in ranked["ranking"]]  # type: ignore[index, union-attr]
    accuracy = {
        store: train(store, run_root=tmp_path / str(i)).test["accuracy"]["value"]
        for i, store in enumerate(digits.values())
    }
    assert order == sorted(accuracy, key=lambda store: -accuracy[store])
    assert ranked["trust"]["first_in"] == 10  # type: ignore[index, call-overload]
    best = ranked["ranking"][0]  # type: ignore[index]
    worst = ranked["ranking"][-1]  # type: ignore[index]
    assert best["bits"] < worst["bits"] < np.log2(5) + 0.1  # type: ignore[index, operator]
    assert best["knn"] > worst["knn"]  # type: ignore[index, operator]


def test_the_same_request_gives_the_same_figures(digits: dict[str, str]):
    stores = list(digits.values())[1:]
    assert rank_stores(stores, most_rows=100) == rank_stores(stores, most_rows=100)


def import_rows(
    root: Path, features: dict[str, np.ndarray], targets: np.ndarray, weights: str
) -> str:
    path = root / "x.npz"
    digests = np.array([f"{row:064x}" for row in range(len(targets))])
    np.savez(path, **features, target=targets, content_digest=digests, id=digests)
    return import_features(
        [path], backbone="x", weights=weights, dataset="d", store_root=root / "stores"
    ).store


def test_what_is_alike_is_too_close_to_call(tmp_path: Path):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 300)
    stores = []
    for weights in "ab":
        rows = rng.normal(size=(300, 10)) + np.eye(3, 10)[targets]
        stores.append(import_rows(tmp_path, {"pool": rows}, targets, weights))
    trust = rank_stores(stores)["trust"]
    assert trust["first_in"] < 10  # type: ignore[index, call-overload, operator]
    assert "train heads" in trust["sentence"]  # type: ignore[index, call-overload, operator]


def test_logits_of_the_source_model_add_leep_and_nce(tmp_path: Path):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    features = {
        "pool": rng.normal(size=(200, 4)),
        "logits": 20 * np.eye(5)[targets] + rng.normal(size=(200, 5)),
    }
    ranked = rank_stores([import_rows(tmp_path, features, targets, "a")])
    (first, second) = ranked["ranking"]  # type: ignore[misc, union-attr]
    assert first["feature"] == "logits" and first["leep"] == second["leep"]  # type: ignore[index, call-overload]
    assert first["nce"] == pytest.approx(0, abs=1e-6)  # type: ignore[index, call-overload]


def test_only_examples_of_all_stores_count(tmp_path: Path):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 100)
    rows = rng.normal(size=(100, 4))
    whole = import_rows(tmp_path, {"pool": rows}, targets, "a")
    part = import_rows(tmp_path, {"pool": rows[:60]}, targets[:60], "b")
    assert 25 < rank_stores([whole, part])["examples"] < 60  # type: ignore[operator]
    few = import_rows(tmp_path, {"pool": rows[:9]}, targets[:9], "c")
    with pytest.raises(DatasetError, match="it takes 20 of 2 classes"):
        rank_stores([whole, few])
    with pytest.raises(RequestError, match="at least one"):
        rank_stores([])
