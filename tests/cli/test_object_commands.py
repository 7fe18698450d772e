"""The commands on datasets and stores in a bucket, and what they say when it fails."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.cli.app import run_command
from tl_pipeline.object_paths import ObjectPath

Ask = Callable[..., Any]


@pytest.fixture
def photos(bucket: ObjectPath) -> ObjectPath:
    """Two classes of pictures, one dark and one bright, in a bucket."""
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("bright", 128)):
        for i in range(30):
            pixels = rng.integers(low, low + 128, (8, 8, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            (bucket / "photos" / name / f"{i}.png").write_bytes(file.getvalue())
    return bucket / "photos"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    get = ObjectPath._get

    def counted(path: ObjectPath, **asked: str) -> tuple[bytes, str]:
        done.append(str(path))
        return get(path, **asked)

    monkeypatch.setattr(ObjectPath, "_get", counted)
    return done


def test_a_bucket_of_pictures_becomes_a_store_in_a_bucket_and_a_head(
    ask: Ask, photos: ObjectPath, tmp_path: Path, reads: list[str]
):
    root = photos.parent / "stores"
    extract = ("extract", "--data", photos, "--backbone", "pixels", "--store-root")
    first = ask(*extract, root)
    assert first["examples"] == first["rows_computed"] == first["inputs_hashed"] == 60
    inputs = [path for path in reads if path.startswith(str(photos))]
    assert len(inputs) == len(set(inputs)) == 60
    store = first["store"]
    assert store.startswith(str(root))

    # Objects that were younger than 2 s are read for their digests once more.
    reads.clear()
    again = ask(*extract, root)
    assert again["rows_reused"] == 60 and again["inputs_opened"] == 0
    assert sum(path.startswith(str(photos)) for path in reads) == again["inputs_hashed"]

    local = ask(*extract, tmp_path / "stores")["store"]
    for name in ("store.json", "shards", "snapshots"):
        there, here = parse(store) / name, Path(local) / name
        if here.is_file():
            assert there.read_bytes() == here.read_bytes()
            continue
        assert {file.name: file.read_bytes() for file in there.iterdir()} == {
            file.name: file.read_bytes() for file in here.iterdir()
        }

    (listed,) = ask("store", "ls", root)
    assert listed["intact"] and listed["path"] == store
    assert ask("store", "show", store)["rows"] == 60
    assert ask("store", "verify", store)["intact"]
    assert ask("store", "stats", store)["examples"] == 60
    assert ask("store", "gc", store)["rows"] == 0
    assert ask("store", "diff", store, local)["spec"] == []

    runs = tmp_path / "runs"
    train = ("train", "--run-root", runs, "--heads", "ridge", "--store")
    trained = ask(*train, store)
    assert trained["test"]["accuracy"]["value"] == 1.0
    same = ask(*train, local)
    assert same["reused"] and same["run"] == trained["run"]
    assert len(ask("predict", trained["run"], photos)) == 60

    # Whatever was written, here or there, says nothing of who may write.
    written = [found.path.read_bytes() for found in root.walk()]
    written += [file.read_bytes() for file in runs.rglob("*") if file.is_file()]
    for said in (os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_ENDPOINT_URL"]):
        assert not any(said.encode() in data for data in written)


def parse(text: str) -> ObjectPath:
    bucket, _, key = text.removeprefix("s3://").partition("/")
    return ObjectPath(bucket, key)


def test_a_pipeline_runs_on_a_bucket_and_has_nothing_to_do_the_second_time(
    ask: Ask, photos: ObjectPath, tmp_path: Path
):
    config = tmp_path / "pipeline.toml"
    config.write_text(
        f'[data]\nsource = "{photos}"\n[backbone]\nname = "pixels"\n'
        f'[store]\nroot = "{photos.parent}/stores"\n[heads]\nkinds = ["ridge"]\n'
        f'[run]\nroot = "{tmp_path}/runs"\n'
    )
    first = ask("run", config, "--engine", "local")
    again = ask("run", config, "--engine", "local")
    assert first["promotion"]["verdict"] == "promote"
    assert again["promotion"]["verdict"] == "hold"
    planned = ask("plan", config)
    assert planned["rows_reused"] == 60 and planned["disk"]["free"] is None


def say(*argv: object, **environment: str) -> tuple[int, str]:
    """Runs a command as a process; returns its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "tl_pipeline.cli", *map(str, argv)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert len(done.stderr.strip().splitlines()) == 1
    return done.returncode, done.stderr


def test_what_is_wrong_with_a_request_is_one_sentence(
    bucket: ObjectPath, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    extract = ("extract", "--backbone", "pixels", "--data")
    for argv, sentence in (
        (("store", "ls", "s3://no-such-bucket/a"), "there is no such bucket"),
        (("store", "ls", "gs://photos"), "known are folders on this machine and s3"),
        (("store", "show", bucket / "none"), f"{bucket}/none, which has no store.json"),
        ((*extract, bucket / "none", "--store-root", tmp_path), "nothing lies there"),
        (
            ("train", "--store", bucket / "none", "--run-root", bucket / "runs"),
            "runs are kept in a folder on this machine",
        ),
    ):
        assert run_command([*map(str, argv)]) == 2
        (said,) = capsys.readouterr().err.strip().splitlines()
        assert sentence in said


def test_a_server_that_is_down_or_knows_nobody_is_one_sentence(bucket: ObjectPath):
    ls = ("store", "ls", bucket / "stores")
    code, said = say(*ls, AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1")
    assert code == 1 and "its server cannot be reached" in said
    code, said = say(*ls, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert code == 2 and "no credentials were found" in said


def test_listing_local_stores_imports_no_driver(tmp_path: Path):
    program = (
        "import sys; from tl_pipeline.cli.app import run_command\n"
        f"run_command(['store', 'ls', {str(tmp_path)!r}])\n"
        "print([m for m in ('fsspec', 's3fs', 'aiohttp') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("[]")
