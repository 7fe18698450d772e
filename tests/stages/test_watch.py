"""Nights of a pipeline whose data changes: the drift watch, and what is dropped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.config import make_config
from tl_pipeline.errors import DriftError
from tl_pipeline.runs.run import list_runs, load_run
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.promote import rollback
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store


def add_photos(folder: Path, start: int, n: int, *, inverted: bool = False) -> None:
    for i in range(start, start + n):
        path = folder / ("left", "right")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(i)
        pixels = rng.integers(0, 120, (8, 8), dtype=np.uint8)
        pixels[:, 4 * (i % 2) : 4 * (i % 2) + 4] += rng.integers(
            20, 130, dtype=np.uint8
        )
        Image.fromarray(255 - pixels if inverted else pixels).save(path)


def run_night(root: Path, **sections: Any) -> Any:
    config = {
        "data": {"source": str(root / "photos")},
        "backbone": {"name": "pixels"},
        "store": {"root": str(root / "stores")},
        "heads": {"l2": [0.1]},
        "baselines": {"names": []},
        "run": {"root": str(root / "runs")},
    }
    return run_local(make_config({**config, **sections}, where="here"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_photos(tmp_path / "photos", 0, 80)
    return tmp_path


def test_new_examples_like_the_old_ones_are_no_drift(root: Path):
    assert run_night(root)["drift"] is None  # nothing to compare with
    assert run_night(root)["drift"] is None  # nothing new
    add_photos(root / "photos", 80, 8)
    few = run_night(root)["drift"]
    assert few["differ"] is None and few["rows"] == [80, 8]
    assert "too few" in few["sentence"]
    add_photos(root / "photos", 88, 40)
    same = run_night(root)["drift"]
    # Of all that came since the head in use, which the few did not replace.
    assert (same["differ"], same["rows"]) == (False, [80, 48])
    (feature,) = same["features"]
    assert feature["feature"] == "pool"
    assert feature["classifier"]["p_value"] > 0.005
    assert feature["dimensions"]["p_value"] > 0.005


def test_a_drift_warns_holds_or_fails_as_is_asked(root: Path):
    first = run_night(root)["train"]["run"]
    add_photos(root / "photos", 100, 40, inverted=True)
    runs = len(list_runs(root / "runs"))
    with pytest.raises(DriftError, match="40 new examples .* differ in pool"):
        run_night(root, drift={"action": "fail"})
    assert len(list_runs(root / "runs")) == runs
    held = run_night(root, drift={"action": "hold"})
    assert held["promotion"]["reason"] == "drift"
    assert held["promotion"]["sentence"].startswith("Hold: Drift: 40 new examples")
    assert held["promotion"]["current"] == first != held["train"]["run"]
    # The next night, on which nothing is new, still holds: the head in use is the same.
    again = run_night(root, drift={"action": "hold"})
    assert again["train"]["reused"] and again["promotion"]["reason"] == "drift"
    warned = run_night(root)
    assert warned["drift"]["differ"] and warned["promotion"]["reason"] != "drift"
    assert run_night(root, drift={"action": "none"})["drift"] is None


def test_old_snapshots_and_runs_are_dropped_but_not_the_one_in_use(root: Path):
    found = [run_night(root)]
    assert found[0]["retention"] is None
    for night in range(1, 4):
        add_photos(root / "photos", 100 * night, 10)
        for old in range(4):
            place = root / "photos" / ("left", "right")[old % 2]
            (place / f"{10 * night + old}.png").unlink()
        found.append(run_night(root, promotion={"enabled": False}))
    keep = {"snapshots": 2, "runs": 1}
    last = run_night(root, promotion={"enabled": False}, retention=keep)
    dropped = last["retention"]
    store = open_store(last["train"]["store"])
    assert len(store.snapshots()) == 2 and dropped["snapshots"] == 2
    assert dropped["rows"] == 8 and verify_store(store.path)["intact"]
    # The first is in use, the last is the latest.
    left = {found[0]["train"]["run"], last["train"]["run"]}
    assert {str(path) for path in list_runs(root / "runs")} == left
    assert len(dropped["runs"]) == 2
    load_run(root / "runs" / "photos.current.json")
    again = run_night(root, promotion={"enabled": False}, retention=keep)
    assert again["retention"]["runs"] == () and again["retention"]["rows"] == 0


def test_a_run_that_was_found_again_is_kept_however_old(root: Path):
    first = run_night(root)["train"]["run"]
    add_photos(root / "photos", 300, 10)
    second = run_night(root, promotion={"enabled": False})["train"]["run"]
    by_hand = run_night(root, promotion={"enabled": False}, heads={"l2": [0.5]})
    again = run_night(root, promotion={"enabled": False}, retention={"runs": 1})
    assert again["train"]["run"] == second and again["train"]["reused"]
    left = {str(path) for path in list_runs(root / "runs")}
    assert left == {first, second, by_hand["train"]["run"]}


def test_the_run_to_which_a_rollback_returns_is_kept(root: Path, monkeypatch):
    first = run_night(root)["train"]["run"]
    monkeypatch.setattr("tl_pipeline.stages.promote.judge", _promote)
    add_photos(root / "photos", 200, 40)
    second = run_night(root, retention={"runs": 1})
    assert second["promotion"]["verdict"] == "promote"
    assert {str(path) for path in list_runs(root / "runs")} == {
        first,
        second["train"]["run"],
    }
    assert rollback(root / "runs")["current"] == first


def _promote(*arguments: Any, **options: Any) -> Any:
    import dataclasses

    from tl_pipeline.evaluation.gate import judge

    found = judge(*arguments, **options)
    return dataclasses.replace(found, verdict="promote", reason="gain")
