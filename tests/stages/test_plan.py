"""A plan beside what the extraction then did, on real files."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.baselines import load_baselines
from tl_pipeline.stages.extract import extract, find_stat_cache
from tl_pipeline.stages.extraction import ExtractReport
from tl_pipeline.stages.plan import PlanReport, plan
from tl_pipeline.store.lock import hold_lock

PIXELS = load_backbone("pixels", settings={"size": 24, "color": "rgb"})
DIGITS = load_dataset("builtin:digits-shifted")


def write_photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    os.utime(path, (1e9, 1e9))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(60):
        write_photo(tmp_path / "photos" / ("ants", "bees")[i % 2] / f"{i}.png", i)
    return tmp_path / "photos"


def arguments(photos: Path) -> dict[str, Any]:
    return {"features": ["pool"], "store_root": photos.parent / "stores"}


def foresee(photos: Path, **options: Any) -> PlanReport:
    return plan(load_dataset(photos), PIXELS, **arguments(photos), **options)


def run(photos: Path, **options: Any) -> ExtractReport:
    return extract(load_dataset(photos), PIXELS, **arguments(photos), **options)


def check_same(planned: PlanReport, done: ExtractReport) -> None:
    assert planned.rows_to_compute == done.rows_computed
    assert planned.rows_reused == done.rows_reused
    assert planned.duplicates == done.duplicates
    assert planned.examples == done.examples
    assert planned.changes == done.changes


def written(root: Path) -> int:
    """Returns the bytes of all shards and snapshots under a root."""
    return sum(path.stat().st_size for path in root.rglob("*.h5"))


def test_rows_are_exact_and_bytes_within_two_percent_of_what_is_written(tmp_path: Path):
    network = load_backbone("digits_cnn")
    features = [*network.feature_shapes()][:1] + ["pool"]
    options: dict[str, Any] = {
        "features": features,
        "store_root": tmp_path,
        "baselines": load_baselines(
            ["pixels", "random:0"], beside=network, features=["pool"]
        ),
        "n_train": 200,
    }
    planned = plan(DIGITS, network, **options)
    done = extract(DIGITS, network, **options)
    check_same(planned, done)
    assert [store["rows_to_compute"] for store in planned.stores] == [
        done.rows_computed,
        *(baseline["rows_computed"] for baseline in done.baselines),
    ]
    assert planned.bytes == pytest.approx(written(tmp_path), rel=0.02)
    for store in planned.stores:
        shards = [*Path(store["store"], "shards").iterdir()]
        actual = sum(path.stat().st_size for path in shards)
        assert store["bytes"] == pytest.approx(actual, rel=0.02)
        assert store["shards"] == len(shards)
        assert sum(f["bytes"] for f in store["features"].values()) < store["bytes"]
    again = plan(DIGITS, network, **options)
    assert (again.bytes, again.rows_to_compute, again.seconds) == (0, 0, 0.0)
    assert all(not store["bytes"] for store in again.stores)
    assert all(store["exists"] for store in again.stores)


def test_what_changed_is_told_as_the_extraction_then_tells_it(photos: Path):
    run(photos)
    for i in range(5):
        write_photo(photos / "ants" / f"new{i}.png", 100 + i)
    (photos / "bees" / "1.png").unlink()
    (photos / "bees" / "3.png").rename(photos / "ants" / "3.png")
    write_photo(photos / "bees" / "5.png", 200)
    shutil.copy(photos / "ants" / "0.png", photos / "ants" / "twin.png")
    before = written(photos.parent)
    planned = foresee(photos)
    done = run(photos)
    check_same(planned, done)
    assert planned.rows_to_compute == 6 and planned.duplicates == 1
    assert planned.bytes == pytest.approx(written(photos.parent) - before, rel=0.02)


def test_remembered_failures_are_told_apart_from_those_tried_again(photos: Path):
    (photos / "bees" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    (photos / "bees" / "gone.png").symlink_to(photos / "nowhere.png")
    run(photos)
    planned = foresee(photos)
    assert planned.failures == {"remembered": 1, "retried": 0, "unreadable": 1}
    assert (planned.rows_to_compute, planned.rows_reused) == (0, 60)
    pool = planned.stores[0]["features"]["pool"]
    assert (pool["rows_to_compute"], pool["rows_reused"]) == (0, 60)
    retried = foresee(photos, retry_failed=True)
    assert retried.failures == {"remembered": 0, "retried": 1, "unreadable": 1}
    assert (retried.rows_to_compute, retried.rows_reused) == (1, 60)
    assert retried.seconds is None  # what cannot be decoded cannot be timed


def test_a_plan_writes_the_cache_of_digests_alone_and_waits_for_no_lock(
    photos: Path, monkeypatch: pytest.MonkeyPatch
):
    # Files as young as these are not remembered; two seconds later they would be.
    monkeypatch.setattr("tl_pipeline.data.stat_cache.SETTLED_NS", 0)
    root = photos.parent / "stores"
    assert foresee(photos).inputs_hashed == 60
    assert list(root.iterdir()) == [find_stat_cache(root)]
    assert foresee(photos).inputs_hashed == 0
    store = Path(run(photos).store)
    write_photo(photos / "ants" / "new.png", 100)
    with hold_lock(store):
        state = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
        assert foresee(photos).rows_to_compute == 1
        assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == state


def test_time_is_from_a_calibration_or_from_the_stores_own_record(tmp_path: Path):
    options: dict[str, Any] = {
        "features": ["pool"],
        "store_root": tmp_path,
        "batch_size": 8,
    }
    first = plan(DIGITS, PIXELS, **options)
    assert first.rate["source"] == "calibrated"
    assert first.rate["calibration"]["images"] == 32
    assert first.seconds is not None and first.seconds > 0
    done = extract(DIGITS, PIXELS, **options)
    more = load_dataset("builtin:digits", name="digits")
    second = plan(more, PIXELS, **options)
    assert second.rate["source"] == "recorded"
    rate = done.rows_computed / done.seconds
    assert second.rate["images_a_second"] == pytest.approx(rate, rel=0.2)
    assert second.seconds == pytest.approx(
        second.rows_to_compute / second.rate["images_a_second"]
    )


class _Loud(type(PIXELS)):
    def make_forward(self, features):  # type: ignore[no-untyped-def]
        forward = super().make_forward(features)
        return lambda batch: {"pool": forward(batch)["pool"] * 5000}


def test_large_values_in_float16_are_warned_of_before_and_after(photos: Path):
    loud = _Loud(PIXELS.settings, PIXELS.preprocess)
    dataset = load_dataset(photos)
    for _ in range(2):  # by the calibration, then by the store
        planned = plan(dataset, loud, **arguments(photos))
        (warning,) = planned.warnings
        assert "pool reaches" in warning and "float32" in warning
        assert planned.largest["pool"] > 4096
        extract(dataset, loud, **arguments(photos))
    wide = plan(dataset, loud, store_dtype="float32", **arguments(photos))
    assert wide.warnings == ()
    assert foresee(photos, store_dtype="float32").largest["pool"] <= 1


def test_what_does_not_fit_is_said_and_not_tried(
    photos: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tl_pipeline.stages.room.find_disk_free", lambda _: 1000)
    planned = foresee(photos)
    assert not planned.fits and planned.disk["free"] == 1000
    assert "1000 B are free" in planned.warnings[0]
    assert planned.rate["source"] is None and planned.seconds is None


def test_a_networks_device_memory_holds_at_least_its_weights_and_a_batch(
    tmp_path: Path,
):
    network = load_backbone("digits_cnn")
    sizes = []
    for batch_size in (8, 256):
        planned = plan(
            DIGITS,
            network,
            features=["pool"],
            store_root=tmp_path,
            batch_size=batch_size,
        )
        assert planned.device is not None
        sizes.append(planned.device["needed"])
    assert sizes[1] - sizes[0] >= 248 * int(np.prod(network.preprocess.input_shape))
    assert foresee_without_device(tmp_path) is None


def foresee_without_device(root: Path) -> object:
    return plan(DIGITS, PIXELS, features=["pool"], store_root=root).device
