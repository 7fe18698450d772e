"""The whole pipeline on real photographs or digits, counted, not assumed."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.config import PipelineConfig, make_config
from tl_pipeline.errors import DatasetError, ParityError, TooManyFailuresError
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import open_store


def write_photos(folder: Path, counts: dict[str, int], *, seed: int = 0) -> None:
    """Writes small photographs whose brightness tells the class, with noise."""
    rng = np.random.default_rng(seed)
    for level, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.normal(90 + 60 * level, 50, (12, 14, 3)).clip(0, 255)
            path = folder / name / f"{seed}-{i}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)


def config_of(root: Path, **changes: dict[str, Any]) -> PipelineConfig:
    values: dict[str, dict[str, Any]] = {
        "data": {"source": str(root / "photos")},
        "backbone": {"name": "pixels"},
        "store": {"root": str(root / "stores")},
        "run": {"root": str(root / "runs")},
    }
    merged = {key: values.get(key, {}) | changes.get(key, {}) for key in values}
    return make_config(
        merged | {k: changes[k] for k in changes - values.keys()}, where=""
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_photos(tmp_path / "photos", {"ants": 40, "bees": 40})
    return tmp_path


def test_a_second_run_with_nothing_changed_is_the_same_run(root: Path):
    time.sleep(2.1)  # until the stat cache may trust the files' stamps
    first: Any = run_local(config_of(root))
    again: Any = run_local(config_of(root))
    assert first["extract"]["rows_computed"] == 80
    assert not first["train"]["reused"]
    for key in ("inputs_hashed", "inputs_opened", "rows_computed", "parity_inputs"):
        assert again["extract"][key] == 0, key
    assert again["train"]["reused"]
    assert again["train"]["run"] == first["train"]["run"]
    assert again["train"]["heads_trained"] == 0


def test_renamed_classes_train_again_without_opening_a_file(root: Path):
    first: Any = run_local(config_of(root))
    (root / "photos" / "ants").rename(root / "photos" / "formicidae")
    second: Any = run_local(config_of(root))
    for key in ("inputs_opened", "rows_computed"):
        assert second["extract"][key] == 0
    assert second["train"]["run"] != first["train"]["run"]
    # The other class is now the positive one: the same head but for rounding.
    for name, figures in first["train"]["test"].items():
        assert second["train"]["test"][name] == pytest.approx(figures, abs=1e-6)
    assert load_run(second["train"]["run"]).head["classes"] == ["bees", "formicidae"]


def test_a_head_rerun_needs_no_data_at_all(root: Path):
    first: Any = run_local(config_of(root))
    shutil.rmtree(root / "photos")
    report = train(first["extract"]["store"], run_root=root / "runs", l2=[0.1])
    assert not report.reused
    assert report.chosen["settings"]["l2"] == 0.1
    assert train(first["extract"]["store"], run_root=root / "runs", l2=[0.1]).reused


def test_training_twice_from_scratch_gives_the_same_bytes(root: Path):
    first: Any = run_local(config_of(root))
    store = first["extract"]["store"]
    one = train(store, run_root=root / "one")
    two = train(store, run_root=root / "two")
    for name in ("head.safetensors", "head.json", "metrics.json", "report.html"):
        assert (Path(one.run) / name).read_bytes() == (
            Path(two.run) / name
        ).read_bytes()


def test_too_many_failures_stop_before_a_head_is_trained(root: Path):
    for i in range(3):
        (root / "photos" / "ants" / f"broken{i}.png").write_bytes(b"no image %d" % i)
    with pytest.raises(TooManyFailuresError, match="3 of 83"):
        run_local(config_of(root))
    assert os.listdir(root / "runs") == [".turns"]  # the lock of the pipeline, no run
    store = next((root / "stores").glob("pixels-*"))
    with pytest.raises(TooManyFailuresError, match="3 of its 83"):
        train(store, run_root=root / "runs")
    allowed = config_of(root, data={"max_failures": 0.05})
    summary: Any = run_local(allowed)
    assert len(summary["extract"]["failures"]) == 3
    assert sum(summary["train"]["counts"].values()) == 80


def test_rows_that_were_never_checked_live_are_not_trained_on(root: Path):
    first: Any = run_local(config_of(root))
    store = Path(first["extract"]["store"])
    (store / "extractions.jsonl").unlink()
    with pytest.raises(ParityError, match="never compared"):
        train(store, run_root=root / "other")
    assert run_local(config_of(root))["extract"]["parity_inputs"] > 0  # type: ignore
    assert not train(store, run_root=root / "other").reused


def test_a_split_without_examples_is_named(root: Path):
    with pytest.raises(DatasetError, match="no labeled test example"):
        run_local(config_of(root, data={"test_size": 0.0}))
    with pytest.raises(DatasetError, match="no labeled val example"):
        run_local(config_of(root, data={"val_size": 0.0}, heads={"selection": "val"}))


def test_without_validation_heads_are_chosen_by_folds_and_it_says_so(root: Path):
    summary: Any = run_local(config_of(root, data={"val_size": 0.0}))
    selection = summary["train"]["selection"]
    assert (selection["method"], selection["folds"]) == ("cv", 5)
    assert "there is no validation example" in selection["sentence"]
    assert 0 <= selection["corrected"]["value"] <= 1
    assert summary["train"]["counts"]["val"] == 0
    assert summary["train"]["val"]["accuracy"]["value"] > 0.5
    page = Path(summary["train"]["report"]).read_text()
    assert "train, by folds" in page


def test_two_datasets_share_rows_and_one_must_be_named(root: Path):
    first: Any = run_local(config_of(root))
    shutil.copytree(root / "photos", root / "more")
    write_photos(root / "more", {"ants": 5, "bees": 5}, seed=1)
    more = config_of(root, data={"source": str(root / "more")})
    second: Any = run_local(more)
    assert second["extract"]["store"] == first["extract"]["store"]
    assert second["extract"]["rows_computed"] == 10
    with pytest.raises(ValueError, match=r"(?s)more.*photos|photos.*more"):
        train(first["extract"]["store"], run_root=root / "runs")
    named = train(first["extract"]["store"], run_root=root / "r", dataset="more")
    assert named.dataset == "more"


def test_predict_says_of_a_stored_example_what_the_run_said(root: Path):
    summary: Any = run_local(config_of(root))
    run = load_run(summary["train"]["run"])
    import pyarrow.parquet as pq

    stored = {
        row["id"]: row
        for row in pq.read_table(run.path / "predictions.parquet").to_pylist()
    }
    live = predict(run.path, root / "photos")
    assert len(live) == 80
    for one in live:
        if one.id in stored:
            expected = dict(
                zip(run.head["classes"], stored[one.id]["probabilities"], strict=True)
            )
            assert one.probabilities == pytest.approx(expected, abs=1e-6)
            assert one.label == stored[one.id]["predicted"]


def test_predict_takes_one_file_and_survives_a_broken_one(root: Path):
    summary: Any = run_local(config_of(root))
    photo = next((root / "photos" / "bees").iterdir())
    (one,) = predict(summary["train"]["run"], photo)
    assert one.label in ("ants", "bees")
    assert sum(one.probabilities.values()) == pytest.approx(1)
    (root / "new").mkdir()
    (root / "new" / "broken.png").write_bytes(b"")
    shutil.copy(photo, root / "new" / "good.png")
    broken, good = predict(summary["train"]["run"], root / "new")
    assert (broken.label, bool(broken.reason)) == (None, True)
    assert good.label == one.label


def test_statistics_and_choice_never_see_test(root: Path):
    summary: Any = run_local(config_of(root))
    store = open_store(summary["extract"]["store"])
    before = load_run(summary["train"]["run"])
    test_ids = set(store.read("pool", split="test").ids)
    for item in sorted(test_ids):  # mislabel all of test: nothing chosen may move
        name, _, file = item.partition("/")
        other = "bees" if name == "ants" else "ants"
        os.rename(root / "photos" / name / file, root / "photos" / other / f"t{file}")
    after = load_run(run_local(config_of(root))["train"]["run"])  # type: ignore
    assert after.metrics["chosen"] == before.metrics["chosen"]
    assert after.metrics["val"] == before.metrics["val"]
    for name, array in before.head_arrays().items():
        np.testing.assert_array_equal(after.head_arrays()[name], array)
    assert after.metrics["test"] != before.metrics["test"]
