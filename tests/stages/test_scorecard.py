"""Temperature and thresholds of the chosen head: fitted where it is chosen alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.train import train


def trained(root: Path, *, seed_of_test: int, **asked: Any) -> Run:
    """Trains on the same train and val, and on test examples of another seed."""
    splits = np.repeat(["train", "val", "test"], 80)
    rng, own = np.random.default_rng(0), np.random.default_rng(seed_of_test)
    rows, noise = rng.normal(size=(240, 4)), rng.normal(size=240)
    is_test = splits == "test"
    rows[is_test], noise[is_test] = own.normal(size=(80, 4)), own.normal(size=80)
    yes = rows[:, 0] + noise > np.where(is_test, -1.5, 1.0)  # rare, but on test
    root.mkdir()
    np.savez(
        root / "f.npz",
        pool=rows.astype(np.float32),
        target=np.where(yes, "yes", "no"),
        split=splits,
        id=np.array([f"{row:03}" for row in range(240)]),
    )
    made = {"backbone": "b", "weights": "w", "dataset": "d"}
    store = import_features([root / "f.npz"], store_root=root / "stores", **made).store
    found = train(store, run_root=root / "runs", l2=[1e-3], calibrate=True, **asked)
    return load_run(found.run)


@pytest.mark.parametrize("selection", ["val", "cv"])
def test_test_examples_have_no_part_in_temperature_and_thresholds(
    tmp_path: Path, selection: str
):
    asked = {"selection": selection, "decide_by": "f1"}
    one = trained(tmp_path / "one", seed_of_test=1, **asked)
    two = trained(tmp_path / "two", seed_of_test=2, **asked)
    assert one.metrics["test"] != two.metrics["test"]
    for key in ("temperature", "thresholds"):
        assert one.head[key] == two.head[key], key
    assert one.head["temperature"] != 1.0
    assert one.head["thresholds"] not in ([], [0.5])
    arrays, others = one.head_arrays(), two.head_arrays()
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays)
