"""Power lost at any moment: what was not synced is dropped, torn or reordered."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.store import schema
from tl_pipeline.store.store import open_store

KILLS = [
    pytest.param(kill / 20, marks=[] if kill in (2, 12) else pytest.mark.slow)
    for kill in range(20)
]


def make_toy_writer(
    toy: ModuleType, power_loss: ModuleType, root: Path, examples: int
) -> Any:
    content = toy.make_content(examples)
    content[0, 0] = 3  # does not decode
    content[1, 2] = 5  # cannot be read

    def write(disk: Path) -> None:
        toy.extract(disk / "new" / "stores", content)

    write(root)
    (path,) = root.glob("new/stores/*")

    def check(path: Path) -> None:
        check_toy_rows(toy, path)

    return power_loss.Writer(
        write, str(path.relative_to(root)), toy.read_files(path), check, toy.read_files
    )


def check_toy_rows(toy: ModuleType, path: Path) -> None:
    store = open_store(path)
    for feature in store.manifest.features:
        rows, content = store.rows(feature)
        wanted = toy.compute(content, feature).astype("float16")
        np.testing.assert_array_equal(rows, wanted)


@pytest.mark.parametrize("kill", [None, *KILLS])
@pytest.mark.parametrize(
    ("examples", "n"), [(6, 20), pytest.param(24, None, marks=pytest.mark.slow)]
)
def test_a_store_survives_the_loss_of_whatever_was_not_synced(
    toy: ModuleType,
    power_loss: ModuleType,
    tmp_path: Path,
    examples: int,
    n: int | None,
    kill: float | None,
):
    writer = make_toy_writer(toy, power_loss, tmp_path / "whole", examples)
    assert power_loss.check_replay(writer, tmp_path / "disk", n, kill=kill) > 50


@pytest.mark.parametrize("kill", [None, *KILLS])
@pytest.mark.parametrize("n", [20, pytest.param(None, marks=pytest.mark.slow)])
def test_a_collection_survives_the_loss_of_whatever_was_not_synced(
    toy: ModuleType,
    power_loss: ModuleType,
    tmp_path: Path,
    n: int | None,
    kill: float | None,
):
    content = toy.make_content(40)
    content[:2, 0] = 3  # do not decode: one stays in use, one does not
    store = toy.make_store(tmp_path / "base")
    with store.lock():
        toy.fill(store, content[:24])
        store.commit_snapshot(toy.make_examples(content[:24]))
        toy.fill(store, content[24:])
        store.commit_snapshot(toy.make_examples(content[24:]))
        store.commit_snapshot(toy.make_examples(content[1:20]))
    name = store.path.name

    def write(disk: Path) -> None:
        opened = open_store(disk / name)
        with opened.lock():
            opened.collect(keep=1)

    def check(path: Path) -> None:
        check_toy_rows(toy, path)
        open_store(path).read("pool")

    shutil.copytree(tmp_path / "base", tmp_path / "whole")
    write(tmp_path / "whole")
    wanted = toy.read_files(tmp_path / "whole" / name)
    writer = power_loss.Writer(write, name, wanted, check, toy.read_files)
    n_states = power_loss.check_replay(
        writer, tmp_path / "disk", n, base=tmp_path / "base", kill=kill
    )
    assert n_states > 50


@pytest.mark.parametrize("kill", [None, *KILLS])
@pytest.mark.parametrize("n", [20, pytest.param(None, marks=pytest.mark.slow)])
def test_a_merge_survives_the_loss_of_whatever_was_not_synced(
    toy: ModuleType,
    power_loss: ModuleType,
    tmp_path: Path,
    n: int | None,
    kill: float | None,
):
    content = toy.make_content(32)
    store = toy.make_store(tmp_path / "base")
    for i in range(0, 32, 2):  # small shards of many nights
        with store.lock():
            toy.fill(store, content[i : i + 2])
            store.commit_snapshot(toy.make_examples(content[: i + 2]))
    name = store.path.name

    def write(disk: Path) -> None:
        opened = open_store(disk / name)
        with opened.lock():
            opened.merge(most=2)

    def check(path: Path) -> None:
        check_toy_rows(toy, path)
        assert len(open_store(path).read("pool").ids) > 20

    shutil.copytree(tmp_path / "base", tmp_path / "whole")
    write(tmp_path / "whole")
    wanted = toy.read_files(tmp_path / "whole" / name)
    assert len(wanted) < len(toy.read_files(store.path))
    writer = power_loss.Writer(write, name, wanted, check, toy.read_files)
    n_states = power_loss.check_replay(
        writer, tmp_path / "disk", n, base=tmp_path / "base", kill=kill
    )
    assert n_states > 50


@pytest.mark.parametrize("n", [15, pytest.param(1000, marks=pytest.mark.slow)])
def test_an_extraction_of_pictures_survives_it_too(
    toy: ModuleType,
    power_loss: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    n: int,
):
    monkeypatch.setattr(schema, "SHARD_BYTES", 8 * 2 * 3 * 4**2)
    photos = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for i in range(30):
        file = photos / ("ants", "bees")[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    (photos / "ants" / "broken.png").write_bytes(b"no picture")
    data = load_dataset(photos)
    backbone = load_backbone("pixels", settings={"size": 4, "color": "rgb"})

    def write(disk: Path) -> None:
        extract(data, backbone, features=["pool"], store_root=disk / "s", workers=1)

    write(tmp_path / "whole")
    (path,) = tmp_path.glob("whole/s/pixels-*")
    rows, content = open_store(path).rows("pool")
    right = {key.tobytes(): row for key, row in zip(content, rows, strict=True)}

    def check(path: Path) -> None:
        store = open_store(path)
        if store.manifest.shards:
            for row, key in zip(*store.rows("pool"), strict=True):
                np.testing.assert_array_equal(row, right[key.tobytes()])

    writer = power_loss.Writer(
        write, f"s/{path.name}", toy.read_files(path), check, toy.read_files
    )
    assert power_loss.check_replay(writer, tmp_path / "disk", n) > 50
