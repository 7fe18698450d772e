"""What does not decide a row's value never makes another store, nor computes a row."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.extraction import ExtractReport

SETTINGS = {"size": 4, "color": "rgb"}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(12):
        path = tmp_path / "photos" / ("ants", "bees")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def run(photos: Path, root: Path, **options: Any) -> ExtractReport:
    backbone = load_backbone("pixels", settings=options.pop("settings", SETTINGS))
    options = {"features": ["pool"], **options}
    return extract(load_dataset(photos), backbone, store_root=root, **options)


def move(photos: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    (photos.parent / "elsewhere").mkdir()
    photos.rename(photos.parent / "elsewhere" / "photos")
    return {"photos": photos.parent / "elsewhere" / "photos"}


def copy(photos: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    shutil.copytree(photos, photos.parent / "copies" / "photos")
    return {"photos": photos.parent / "copies" / "photos"}


def touch(photos: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    for file in photos.rglob("*.png"):
        os.utime(file, (1e9, 1e9))
    return {}


def ask_for_other_workers(photos: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"workers": 5}


def ask_for_another_batch_size(
    photos: Path, patch: pytest.MonkeyPatch
) -> dict[str, Any]:
    return {"batch_size": 3}


def turn_the_settings(photos: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    turned = dict(reversed(SETTINGS.items()))
    assert list(turned) != list(SETTINGS)
    return {"settings": turned}


def come_back_another_day(photos: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, day in (("time", 86_400), ("time_ns", 86_400 * 10**9)):
        now = getattr(time, name)
        patch.setattr(time, name, lambda now=now, day=day: now() + day)
    return {}


@pytest.mark.parametrize(
    "change",
    [
        move,
        copy,
        touch,
        ask_for_other_workers,
        ask_for_another_batch_size,
        turn_the_settings,
        come_back_another_day,
    ],
)
def test_it_is_a_hit(
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, pytest.MonkeyPatch], dict[str, Any]],
):
    root = photos.parent / "stores"
    first = run(photos, root, workers=1)
    manifest = (Path(first.store) / "store.json").read_bytes()
    again = run(root=root, **{"photos": photos, **change(photos, monkeypatch)})
    assert (again.store, again.rows_computed) == (first.store, 0)
    assert (Path(first.store) / "store.json").read_bytes() == manifest


SPEC = """
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.targets import make_spec
backbone = load_backbone("pixels", settings={"size": 4, "color": "rgb"})
print(make_spec(backbone, store_dtype="float16").digest)
"""


@pytest.mark.parametrize("n", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_every_hash_seed_names_the_same_store(n: int):
    digests = {
        subprocess.run(
            [sys.executable, "-c", SPEC],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(n)
    }
    assert len(digests) == 1
