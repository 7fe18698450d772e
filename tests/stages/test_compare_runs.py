"""Two runs on the test examples that both scored, and on no others."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from tl_pipeline.cli.app import run_command
from tl_pipeline.config import make_config
from tl_pipeline.errors import NotFoundError, RequestError
from tl_pipeline.reporting.comparison import describe_comparison
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import write_run
from tl_pipeline.stages.compare_runs import compare_runs
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.tasks import Task

CLASSES = ("ants", "bees")


def make_run(
    root: Path, name: str, rows: list[tuple[str, str, int, int]], **changes: Any
) -> Path:
    """Writes a run of (id, split, target, predicted) rows."""
    ids, splits, targets, guesses = zip(*rows, strict=True)
    content = np.zeros((len(ids), 32), np.uint8)
    for row, id in zip(content, ids, strict=True):
        row[: len(id)] = list(id.encode())
    share = changes.pop("share", 0.9)
    predictions = Predictions(
        ids=ids,
        content=content + np.uint8(changes.pop("other_content", 0)),
        splits=splits,
        targets=np.array(targets),
        outputs=np.where(np.eye(2, dtype=bool)[list(guesses)], share, 1 - share),
        task=Task("binary", changes.pop("classes", CLASSES)),
    )
    asked = {"spec": "s", "snapshot": "t", "features": [], "heads": {}, "version": name}
    run = write_run(
        root,
        name,
        asked=asked,
        provenance={"dataset": "insects", "store": str(root / "no store")},
        head={"snapshot": "0" * 64, "spec": {}},
        head_arrays={"kernel": np.zeros((1, 2), np.float32)},
        metrics={},
        predictions=predictions,
        report="",
    )
    return run.path


def test_only_labeled_test_examples_of_both_are_compared(tmp_path: Path):
    first = [(f"t{i}", "test", 0, 0) for i in range(20)]
    first += [(f"w{i}", "test", 1, 0) for i in range(8)]  # wrong
    first += [("hidden", "test", 0, 0)]  # unlabeled by now
    extra = [("old", "test", 1, 0), ("v", "val", 1, 0), ("u", "test", -1, 0)]
    second = [(f"t{i}", "test", 0, 0) for i in range(19)] + [("t19", "test", 0, 1)]
    second += [(f"w{i}", "test", 1, 1) for i in range(8)]
    second += [("hidden", "test", -1, 0)]
    other = [("new", "test", 1, 0), ("v", "test", 1, 1), ("u", "test", 1, 1)]
    found: Any = compare_runs(
        make_run(tmp_path, "a", first + extra),
        make_run(tmp_path, "b", second + other, share=0.8),
    )
    assert found["n"] == 28
    assert (found["first"]["test"], found["second"]["test"]) == (31, 32)
    accuracy, log_loss = found["metrics"]
    assert accuracy["first"] == pytest.approx(20 / 28)
    assert accuracy["second"] == pytest.approx(27 / 28)
    assert (accuracy["better"], accuracy["worse"]) == (8, 1)
    assert accuracy["p_value"] == pytest.approx(binomtest(8, 9, 0.5).pvalue)
    assert log_loss["first"] == pytest.approx(
        -(20 * np.log(0.9) + 8 * np.log(0.1)) / 28, rel=1e-6
    )
    ends = log_loss["difference"]
    assert ends["low"] < ends["value"] < ends["high"] < 0  # a loss: less is better
    assert found["sentence"].startswith("The second is better: +25.0 points")
    assert found["notes"] and not found["slices"]


def test_a_relabeled_example_is_judged_by_the_later_label_for_both(tmp_path: Path):
    rows = [(f"t{i}", "test", i % 2, 0) for i in range(10)]
    relabeled = [(id, split, 0, 0) for id, split, _, _ in rows]
    found: Any = compare_runs(
        make_run(tmp_path, "a", rows), make_run(tmp_path, "b", relabeled)
    )
    assert found["relabeled"] == 5
    assert found["metrics"][0]["first"] == found["metrics"][0]["second"] == 1
    assert "No difference beyond noise: +0.0 points" in found["sentence"]


def test_runs_without_common_ground_are_refused_in_one_sentence(tmp_path: Path):
    rows = [("a", "test", 0, 0), ("b", "test", 1, 1), ("c", "val", 1, 1)]
    first = make_run(tmp_path, "a", rows)
    moved = [(id, "val", target, guess) for id, _, target, guess in rows]
    with pytest.raises(RequestError, match="no labeled test example in common"):
        compare_runs(first, make_run(tmp_path, "b", moved))
    with pytest.raises(RequestError, match="no labeled test example in common"):
        compare_runs(first, make_run(tmp_path, "c", rows, other_content=1))
    renamed = make_run(tmp_path, "d", rows, classes=("ants", "wasps"))
    with pytest.raises(RequestError, match="Only the first knows bees.*second wasps"):
        compare_runs(first, renamed)
    with pytest.raises(NotFoundError):
        compare_runs(first, tmp_path / "nothing")


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[str, str, str]:
    """Runs of two strengths on photographs that a table groups, and their store."""
    rng = np.random.default_rng(0)
    lines = ["path,target,group,split"]
    (tmp_path / "photos").mkdir()
    for i in range(160):
        pixels = rng.normal(90 + 40 * (i % 2), 80, (12, 14, 3)).clip(0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"photos/{i}.png")
        split = ("train", "train", "val", "test")[i // 40]
        site = ("day", "night")[i % 4 // 2] + split
        lines.append(f"photos/{i}.png,{CLASSES[i % 2]},{site},{split}")
    (tmp_path / "photos.csv").write_text("\n".join(lines))
    summaries: list[Any] = [
        run_local(
            make_config(
                {
                    "data": {"source": str(tmp_path / "photos.csv")},
                    "backbone": {"name": "pixels"},
                    "store": {"root": str(tmp_path / "stores")},
                    "baselines": {"names": []},
                    "heads": {"l2": [l2]},
                    "run": {"root": str(tmp_path / "runs")},
                },
                where="",
            )
        )
        for l2 in (1e-6, 1e2)
    ]
    first, second = (summary["train"]["run"] for summary in summaries)
    return first, second, summaries[0]["extract"]["store"]


def test_groups_of_the_snapshot_are_slices_until_the_store_is_gone(
    two_runs: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
):
    first, second, store = two_runs
    found: Any = compare_runs(first, second)
    assert found["n"] == 40
    assert {one["slice"]: one["n"] for one in found["slices"]} == {
        "daytest": 20,
        "nighttest": 20,
    }
    lines = describe_comparison(found)
    assert "40 test examples in common, of 40 and 40" in lines
    assert any("daytest" in line for line in lines)
    assert run_command(["compare", first, second]) == 0
    assert found["sentence"] in capsys.readouterr().out
    shutil.rmtree(store)
    without: Any = compare_runs(first, second)
    assert without["slices"] == []
    assert "is not where it was" in without["notes"][0]
    assert without["metrics"] == found["metrics"]
