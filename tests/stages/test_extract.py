"""Stage one on real files with the pixels backbone, which needs no accelerator."""

import dataclasses
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.preprocessing import preprocess_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError, ParityError, TooManyFailuresError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.baselines import load_baselines
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.extraction import ExtractReport, check_failures
from tl_pipeline.stages.targets import make_spec
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.store.verify import verify_store

PIXELS = load_backbone("pixels", settings={"size": 4, "color": "rgb"})


def write_photo(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    settle(path)


def settle(path: Path) -> None:
    """Makes a file old enough for the stat cache to trust its stamp."""
    os.utime(path, (1e9, 1e9))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(20):
        write_photo(tmp_path / "photos" / ("ants", "bees")[i % 2] / f"{i}.png", i)
    return tmp_path / "photos"


def run(photos: Path, **options: object) -> ExtractReport:
    arguments: dict = {"features": ["pool"], "store_root": photos.parent / "stores"}
    return extract(load_dataset(photos), PIXELS, **(arguments | options))


def check_sum(report: ExtractReport) -> None:
    assert report.examples == (
        report.rows_reused
        + report.rows_computed
        + report.duplicates
        + len(report.failures)
    )


def test_a_row_is_what_the_backbone_says_of_the_example(photos: Path):
    store = open_store(run(photos).store)
    rows = store.read("pool")
    forward = PIXELS.make_forward(["pool"])
    dataset = load_dataset(photos)
    for item in dataset.items:
        image = preprocess_image(decode_image(dataset.read(item)), PIXELS.preprocess)
        live = forward(image[None])["pool"][0]
        stored = rows.features[rows.ids.index(item.id)]
        np.testing.assert_array_equal(stored, live.astype(np.float16))


def test_nothing_changed_costs_nothing(photos: Path):
    first = run(photos)
    assert (first.rows_computed, first.inputs_opened) == (20, 20)
    again = run(photos)
    assert again.rows_reused == 20
    assert again.rows_computed == again.inputs_opened == again.parity_inputs == 0
    assert (again.store, again.digest, again.snapshot) == (
        first.store,
        first.digest,
        first.snapshot,
    )
    assert again.seconds_saved is not None and again.seconds_saved > 0


def test_settled_files_are_not_even_hashed_again(photos: Path):
    # The clock of the change itself cannot be set back: wait until it is old enough.
    import time

    time.sleep(2.1)
    assert run(photos).inputs_hashed == 20
    assert run(photos).inputs_hashed == 0


def test_what_changed_since_the_last_snapshot_is_counted(photos: Path):
    assert run(photos).changes is None
    write_photo(photos / "ants" / "new.png", 100)
    write_photo(photos / "bees" / "1.png", 101)
    (photos / "bees" / "3.png").unlink()
    (photos / "bees" / "5.png").rename(photos / "ants" / "5.png")
    changes = run(photos).changes
    assert changes is not None
    assert {kind: n for kind, n in changes.items() if kind != "moved"} == {
        "added": 1,
        "removed": 1,
        "changed": 1,
        "renamed": 1,
        "relabeled": 1,
    }
    assert not any((run(photos).changes or {"never": 1}).values())


def test_only_what_was_added_is_computed(photos: Path):
    run(photos)
    for i in range(5):
        write_photo(photos / "ants" / f"new{i}.png", 100 + i)
    report = run(photos)
    assert (report.rows_computed, report.inputs_opened) == (5, 5)
    assert 1 <= report.parity_inputs <= 16  # old rows before, old and new ones after
    check_sum(report)


def test_renaming_moving_and_relabeling_cost_nothing_and_move_no_split(photos: Path):
    before = open_store(run(photos).store).snapshot()
    side = dict(zip(before.hex_digests(), before.splits, strict=True))
    (photos / "ants").rename(photos / "formicidae")
    (photos / "bees" / "1.png").rename(photos / "formicidae" / "moved.png")
    report = run(photos)
    assert report.rows_computed == report.inputs_opened == 0
    after = open_store(report.store).snapshot()
    assert after.classes == ("bees", "formicidae")
    assert dict(zip(after.hex_digests(), after.splits, strict=True)) == side


def test_the_same_bytes_are_one_row_and_disagreements_are_listed(photos: Path):
    shutil.copy(photos / "ants" / "0.png", photos / "ants" / "twin.png")
    shutil.copy(photos / "ants" / "2.png", photos / "bees" / "impostor.png")
    report = run(photos)
    assert (report.rows_computed, report.duplicates) == (20, 2)
    assert ("ants/0.png", "ants/twin.png") in report.duplicate_ids
    assert report.conflicts == (("ants/2.png", "bees/impostor.png"),)
    check_sum(report)


def test_a_file_that_is_no_image_is_a_failure_with_a_reason(photos: Path):
    (photos / "bees" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    (photos / "bees" / "gone.png").symlink_to(photos / "nowhere.png")
    report = run(photos)
    assert {f["id"]: f["kind"] for f in report.failures} == {
        "bees/broken.png": "decode",
        "bees/gone.png": "io",
    }
    assert all(failure["reason"] for failure in report.failures)
    check_sum(report)
    again = run(photos)
    assert again.inputs_opened == 0
    assert again.failures == report.failures
    check_sum(again)
    retried = run(photos, retry_failed=True)
    assert (retried.inputs_opened, retried.rows_computed) == (1, 0)
    check_sum(retried)
    with pytest.raises(TooManyFailuresError, match=r"(?s)2 of 22.*1 may.*broken.png"):
        check_failures(report, 0.01)
    check_failures(report, 0.1)


def test_a_value_that_the_store_cannot_hold_fails_its_example_by_name(photos: Path):
    class Loud(type(PIXELS)):
        def make_forward(self, features):  # type: ignore[no-untyped-def]
            forward = super().make_forward(features)

            def loud(batch):  # type: ignore[no-untyped-def]
                rows = forward(batch)["pool"]
                bright = batch.mean(axis=(1, 2, 3), keepdims=True)[:, 0, 0] > 250
                return {"pool": np.where(bright, 1e6, rows)}

            return loud

    white = np.full((9, 11, 3), 255, np.uint8)
    Image.fromarray(white).save(photos / "ants" / "white.png")
    report = extract(
        load_dataset(photos),
        Loud(PIXELS.settings, PIXELS.preprocess),
        features=["pool"],
        store_root=photos.parent / "stores",
    )
    (failure,) = report.failures
    assert (failure["id"], failure["kind"]) == ("ants/white.png", "value")
    assert (failure["feature"], report.rows_computed) == ("pool", 20)
    assert "float16" in failure["reason"]
    check_sum(report)


def test_a_dataset_of_which_nothing_can_be_read_is_refused(tmp_path: Path):
    for name in ("ants", "bees"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="none of its 2 examples"):
        run(tmp_path / "photos")


def test_a_baseline_rides_on_the_same_decoding(photos: Path):
    baselines = load_baselines(["pixels"], beside=_gray(), features=["pool"])
    report = extract(
        load_dataset(photos),
        _gray(),
        features=["pool"],
        store_root=photos.parent / "stores",
        baselines=baselines,
    )
    assert report.inputs_opened == 20
    assert report.baselines[0]["rows_computed"] == 20
    assert report.baselines[0]["store"] != report.store


class _Gray(type(PIXELS)):  # another backbone that needs no accelerator
    name = "gray"


def _gray() -> _Gray:
    gray = load_backbone("pixels", settings={"size": 6, "color": "gray"})
    return _Gray(gray.settings, gray.preprocess)


def test_baselines_run_on_a_part_that_is_the_same_from_day_to_day(photos: Path):
    options: dict = {
        "features": ["pool"],
        "store_root": photos.parent / "stores",
        "baselines": load_baselines(["pixels"], beside=_gray(), features=["pool"]),
        "n_train": 4,
        "n_test": 2,
    }
    first = extract(load_dataset(photos), _gray(), **options)
    part = open_store(str(first.baselines[0]["store"])).snapshot()
    assert part.splits.count("train") == 4
    assert set(part.targets) == {"ants", "bees"}
    (photos / "ants").rename(photos / "aunts")
    second = extract(load_dataset(photos), _gray(), **options)
    again = open_store(str(second.baselines[0]["store"])).snapshot()
    assert second.baselines[0]["rows_computed"] == 0
    assert sorted(again.hex_digests()) == sorted(part.hex_digests())


def test_rows_that_differ_from_live_ones_are_refused_with_both_sides(photos: Path):
    class Drifted(type(PIXELS)):
        def make_forward(self, features):  # type: ignore[no-untyped-def]
            forward = super().make_forward(features)
            return lambda batch: {"pool": forward(batch)["pool"] * 1.01}

    drifted = Drifted(PIXELS.settings, PIXELS.preprocess)
    store = run(photos).store
    write_photo(photos / "ants" / "new.png", 500)
    manifest = (Path(store) / "store.json").read_bytes()
    with pytest.raises(ParityError) as caught:
        extract(
            load_dataset(photos),
            drifted,
            features=["pool"],
            store_root=photos.parent / "stores",
        )
    assert str(caught.value).count("numpy") == 2
    assert (Path(store) / "store.json").read_bytes() == manifest
    assert run(photos).rows_computed == 1


def test_rows_of_another_library_and_platform_are_refused_with_both_named(
    photos: Path,
):
    # Doctored: sound shards under sound digests, whose rows and versions are others'.
    honest = open_store(run(photos, store_root=photos.parent / "honest").store)
    rows, content = honest.rows("pool")
    others = {"numpy": "0.9", "platform": "Plan9 m68k"}
    store = FeatureStore.create_or_open(
        photos.parent / "stores",
        name="pixels",
        spec=honest.spec,
        features=honest.manifest.features,
        batch_size=honest.batch_size,
    )
    with store.lock():
        (group,) = store.plan(content, ["pool"])
        store.commit(
            group,
            0,
            content=content,
            arrays={"pool": rows.astype(np.float32) * 1.01},
            versions=others,
        )
    with pytest.raises(ParityError) as caught:
        run(photos)
    stored, _, live = str(caught.value).partition(" the same rows computed now by ")
    assert "computed by numpy 0.9, platform Plan9 m68k differ by" in stored
    assert f"numpy {np.__version__}, " in live and "platform " in live
    assert not open_store(store.path).snapshots()


def test_each_ingredient_of_the_spec_makes_another_store(photos: Path):
    spec = make_spec(PIXELS, store_dtype="float16")
    float32 = make_spec(PIXELS, store_dtype="float32")
    small = load_backbone("pixels", settings={"size": 3, "color": "rgb"})
    gray = load_backbone("pixels", settings={"size": 4, "color": "gray"})
    digests = {
        spec.digest,
        float32.digest,
        make_spec(small, store_dtype="float16").digest,
        make_spec(gray, store_dtype="float16").digest,
    }
    assert len(digests) == 4
    assert dataclasses.replace(spec).digest == spec.digest


def test_moving_touching_and_other_workers_hit(photos: Path, tmp_path: Path):
    first = run(photos, workers=1)
    moved = tmp_path / "elsewhere" / "photos"
    moved.parent.mkdir()
    photos.rename(moved)
    for path in moved.rglob("*.png"):
        path.touch()
    report = extract(
        load_dataset(moved),
        PIXELS,
        features=["pool"],
        store_root=tmp_path / "stores",
        workers=3,
    )
    assert (report.store, report.rows_computed) == (first.store, 0)


def test_the_batch_size_does_not_show_in_what_is_stored(photos: Path, tmp_path: Path):
    one = open_store(run(photos, batch_size=1, store_root=tmp_path / "a").store)
    seven = open_store(run(photos, batch_size=7, store_root=tmp_path / "b").store)
    np.testing.assert_array_equal(
        one.read("pool").features, seven.read("pool").features
    )
    assert (one.batch_size, seven.batch_size) == (1, 7)


def test_a_finished_extraction_verifies_and_reads_with_h5py_alone(photos: Path):
    report = run(photos)
    assert verify_store(report.store)["intact"]
    shard = next((Path(report.store) / "shards").glob("*.h5"))
    with h5py.File(shard) as file:
        assert file["features/pool"].shape == (20, 48)
        assert file["content_digest"].shape == (20, 32)
