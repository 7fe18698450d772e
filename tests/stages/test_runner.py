"""Extraction by jobs, in whatever order they come back, beside that of one process."""

import dataclasses
import pickle
import random
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import SpecMismatchError, StoreError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.baselines import load_baselines
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.extraction import ExtractReport
from tl_pipeline.stages.jobs import Job, Outcome, do_job
from tl_pipeline.stages.views import make_views
from tl_pipeline.store import schema
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store

PIXELS = load_backbone("pixels", settings={"size": 8, "color": "rgb"})
VIEWS = make_views(2, "light", {"rotation": 10.0})


class Shuffled:
    """Does jobs that were sent, a few at a time and in no order."""

    def __init__(self, *, stop_after: int | None = None):
        self.labels: list[str] = []
        self._stop_after = stop_after

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[int, Outcome]]:
        waiting: dict[int, bytes] = {}
        rng = random.Random(0)
        for number, job in enumerate(jobs):
            waiting[number] = pickle.dumps(job)
            if len(waiting) == 4:
                yield self._do(waiting, rng)
        while waiting:
            yield self._do(waiting, rng)

    def _do(self, waiting: dict[int, bytes], rng: random.Random):
        if len(self.labels) == self._stop_after:
            raise KeyboardInterrupt
        number = rng.choice(sorted(waiting))
        job = pickle.loads(waiting.pop(number))
        self.labels.append(job.label)
        return number, pickle.loads(pickle.dumps(do_job(job, workers=1)))


def write_folder(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, n in (("train", 30), ("test", 16)):
        for i in range(n):
            path = folder / "photos" / split / ("ants", "bees")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
    (folder / "photos" / "train" / "ants" / "broken.png").write_bytes(b"no image")
    return folder / "photos"


def write_table(folder: Path) -> Path:
    photos = write_folder(folder)
    lines = [f"{p},{p.parent.name}" for p in sorted(photos.rglob("*.png"))]
    (folder / "table.csv").write_text("\n".join(["path,target", *lines]))
    return folder / "table.csv"


def arrays(*shape: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, *shape), np.uint8)
    return {"images": images, "targets": np.arange(40) % 2}


def write_npz(folder: Path, *shape: int) -> Path:
    np.savez(folder / "arrays.npz", **arrays(*(shape or (8, 8, 3))))
    return folder / "arrays.npz"


def write_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "arrays.h5", "w") as file:
        for name, array in arrays(8, 8, 3).items():
            file[name] = array
    return folder / "arrays.h5"


SOURCES = {
    "folder": write_folder,
    "table": write_table,
    "npz": write_npz,
    "h5": write_hdf5,
    "builtin": lambda folder: "builtin:digits-shifted",
}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SHARD_BYTES", 9 * 2 * 3 * 8**2)  # of 9 rows


def run(source: Path | str, root: Path, **options: object) -> ExtractReport:
    most = ["[6-9]/*"] if str(source).startswith("builtin:") else []
    return extract(
        load_dataset(source, exclude=most),
        PIXELS,
        **({"features": ["pool"], "store_root": root} | options),  # type: ignore[arg-type]
    )


def committed(root: Path) -> dict[str, bytes]:
    """Returns the bytes of all that must not depend on who computed it."""
    kept = ("store.json", "failures.jsonl", "shards/*", "snapshots/*")
    files = [file for pattern in kept for file in root.glob(f"*/{pattern}")]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


@pytest.mark.parametrize("source", SOURCES)
def test_jobs_in_any_order_make_the_same_store_byte_for_byte(
    source: str, tmp_path: Path
):
    data = SOURCES[source](tmp_path)
    here, by_jobs = (tmp_path / name for name in ("here", "by_jobs"))
    one = run(data, here)
    runner = Shuffled()
    other = run(data, by_jobs, runner=runner)
    assert len(runner.labels) > 3
    assert committed(by_jobs) == committed(here)
    assert (other.rows_computed, other.inputs_opened, other.failures) == (
        *(one.rows_computed, one.inputs_opened),
        one.failures,
    )
    assert verify_store(other.store)["intact"]


def test_views_and_baselines_are_jobs_too_and_equal_ranges_are_opened_once(
    tmp_path: Path,
):
    dataset = load_dataset(write_npz(tmp_path, 16, 16))
    network = load_backbone("digits_cnn")
    names = ["pixels", "random:0"]
    options = {
        "features": ["pool", "stage1:avg"],
        "views": VIEWS,
        "baselines": load_baselines(names, beside=network, features=["pool"]),
    }
    roots = [tmp_path / name for name in ("here", "by_jobs")]
    one, other = (
        extract(dataset, network, store_root=root, runner=runner, **options)
        for root, runner in zip(roots, (None, Shuffled()), strict=True)
    )
    assert committed(roots[1]) == committed(roots[0])
    assert len(list(roots[1].glob("*/store.json"))) == 3
    assert one.rows_computed == other.rows_computed == 40
    assert one.views_computed == other.views_computed > 40
    assert [[b["rows_computed"] for b in r.baselines] for r in (one, other)] == [
        [40, 40]
    ] * 2
    # Most ranges of the three stores differ; both views are made of one decoding.
    assert one.inputs_opened == 40
    assert 40 < other.inputs_opened <= 3 * 40 + other.views_computed // 2


def test_what_was_committed_before_a_stop_is_not_computed_again(tmp_path: Path):
    data = write_folder(tmp_path)
    run(data, tmp_path / "here")
    first, second = Shuffled(stop_after=4), Shuffled()
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "stopped", runner=first)
    (path,) = (tmp_path / "stopped").glob("pixels-*")
    done = len(open_store(path).manifest.shards)
    assert 0 < done <= 4
    run(data, tmp_path / "stopped", runner=second)
    assert len(second.labels) == 6 - done
    assert committed(tmp_path / "stopped") == committed(tmp_path / "here")


def test_nothing_missing_asks_for_no_job(tmp_path: Path):
    class Nobody:
        def run(self, jobs: Iterator[Job]) -> Iterator[tuple[int, Outcome]]:
            raise AssertionError("nothing was to be computed")

    data = write_folder(tmp_path)
    run(data, tmp_path / "stores")
    assert run(data, tmp_path / "stores", runner=Nobody()).rows_computed == 0


class Changed(Shuffled):
    """Does jobs after changing them."""

    def __init__(self, change):
        super().__init__()
        self._change = change

    def _do(self, waiting, rng):
        waiting |= {
            number: pickle.dumps(self._change(pickle.loads(job)))
            for number, job in waiting.items()
        }
        return super()._do(waiting, rng)


def test_a_worker_with_another_backbone_is_refused_by_name(tmp_path: Path):
    def enlarge(job: Job) -> Job:
        (lane,) = job.lanes
        other = dataclasses.replace(
            lane.backbone, settings='{"color":"rgb","size":4}', weights="pretrained"
        )
        return dataclasses.replace(
            job, lanes=(dataclasses.replace(lane, backbone=other),)
        )

    with pytest.raises(SpecMismatchError, match="loaded by a worker(.|\n)*size"):
        run(write_folder(tmp_path), tmp_path / "stores", runner=Changed(enlarge))
    (path,) = (tmp_path / "stores").glob("pixels-*")
    assert not open_store(path).manifest.shards


def test_a_worker_that_sees_other_folders_is_told_of(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "shards").mkdir(parents=True)

    def move(job: Job) -> Job:
        (lane,) = job.lanes
        return dataclasses.replace(
            job, lanes=(dataclasses.replace(lane, path=elsewhere),)
        )

    with pytest.raises(StoreError, match="Let all machines see the same folder"):
        run(write_folder(tmp_path), tmp_path / "stores", runner=Changed(move))
