"""An ensemble competes with its members, and wins only where it is better."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_pipeline.heads.head import Head
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import open_store

N = 240
SPLITS = np.array((["train"] * 2 + ["val", "test"]) * (N // 4))


def import_views(root: Path, views: dict[str, np.ndarray], targets: np.ndarray) -> str:
    root.mkdir(parents=True, exist_ok=True)
    ids = np.array([f"{row:064x}" for row in range(N)])
    arrays = {"target": targets, "id": ids, "content_digest": ids, "split": SPLITS}
    np.savez(root / "f.npz", **views, **arrays)
    made = {"backbone": "some net", "weights": "theirs", "dataset": "views"}
    return import_features([root / "f.npz"], store_root=root / "stores", **made).store


def noisy_views(test_shift: float = 0.0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Six views of the same classes, each with noise of its own."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, N)
    views = {f"view{i}": np.eye(3)[targets] + rng.normal(size=(N, 3)) for i in range(6)}
    if test_shift:
        for rows in views.values():
            rows[SPLITS == "test"] *= test_shift
    return views, np.array(["a", "b", "c"])[targets]


ASKED: dict[str, Any] = {"kinds": ["knn"], "k": [5]}  # few neighbors are too sure


def test_views_that_err_apart_are_averaged_and_the_run_gives_the_answers(
    tmp_path: Path,
):
    store = import_views(tmp_path, *noisy_views())
    single = train(store, run_root=tmp_path / "runs", **ASKED)
    found = train(store, run_root=tmp_path / "runs", ensemble=12, **ASKED)
    assert found.chosen["kind"] == "ensemble"
    assert found.heads_trained == len(found.candidates) - 1 == 6
    members = found.chosen["settings"]["members"]
    assert len(members) > 2 and " × knn on view" in members[0]
    gain = found.test["accuracy"]["value"] - single.test["accuracy"]["value"]
    assert gain > 0.05
    run = load_run(found.run)
    head = Head.from_arrays(run.head, run.head_arrays())
    opened = open_store(store)
    rows = {n: opened.read(n) for n in head.feature.split("+")}
    joined = np.concatenate([part.features for part in rows.values()], axis=1)
    kept = run.predictions()
    place = {id: i for i, id in enumerate(next(iter(rows.values())).ids)}
    said = head.predict(joined.astype(np.float32)[[place[id] for id in kept.ids]])
    np.testing.assert_allclose(said, kept.outputs, atol=1e-6)
    page = run.report.read_text()
    assert "Ensemble on view" in page and "knn on view" in page


@pytest.mark.parametrize("selection", ["val", "cv"])
def test_luck_where_heads_are_chosen_makes_no_ensemble(tmp_path: Path, selection: str):
    # Of heads that know nothing, some average is better there, and nowhere else.
    rng = np.random.default_rng(1)
    views = {f"view{i}": rng.normal(size=(N, 2)) for i in range(20)}
    store = import_views(tmp_path, views, rng.choice(["x", "y"], N))
    options = {"kinds": ["ridge"], "l2": [0.1], "ensemble": 30, "selection": selection}
    found = train(store, run_root=tmp_path / "runs", **options)
    assert found.candidates[-1]["kind"] == "ensemble"
    best = min(one["log_loss"] for one in found.candidates[:-1])
    assert found.candidates[-1]["log_loss"] > best
    assert found.chosen["kind"] == "ridge"


def test_test_rows_have_no_part_in_an_ensemble(tmp_path: Path):
    heads = []
    for name, shift in (("plain", 0.0), ("other", -5.0)):
        store = import_views(tmp_path / name, *noisy_views(shift))
        runs = tmp_path / name / "runs"
        found = train(store, run_root=runs, ensemble=5, calibrate=True, **ASKED)
        assert found.chosen["kind"] == "ensemble"
        heads.append((Path(found.run) / "head.safetensors").read_bytes())
    assert heads[0] == heads[1]
