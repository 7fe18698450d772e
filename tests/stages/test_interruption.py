"""An extraction that is killed: what it leaves is whole, and the next one continues."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.store.verify import verify_store

# A backbone that needs no accelerator, and shards of 8 rows, so that there are many.
PROGRAM = """
import sys
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.store import schema
schema.SHARD_BYTES = 8 * 2 * 3 * 16**2
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
pixels = load_backbone("pixels", settings={"size": 16, "color": "rgb"})
print("begin", flush=True)
extract(load_dataset(sys.argv[1]), pixels, features=["pool"], store_root=sys.argv[2])
"""
N_SHORT, N_LONG = 8, 200


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (folder / name).mkdir(parents=True)
        for i in range(40):
            pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    (folder / "bees" / "broken.png").write_bytes(b"not an image")
    return folder


def start(photos: Path, root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(photos), str(root)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == "begin\n"
    return process


def finish(photos: Path, root: Path) -> float:
    process = start(photos, root)
    begin = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - begin


def committed(root: Path) -> dict[str, bytes]:
    """Returns the bytes of every committed file by its path under the root."""
    (store,) = root.glob("pixels-*")
    files = [store / "store.json", store / "failures.jsonl"]
    files += [*store.glob("shards/*"), *store.glob("snapshots/*")]
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


def kill_and_finish(photos: Path, root: Path, rng: random.Random, span: float) -> None:
    kills = rng.randint(1, 3)
    for _ in range(kills):
        process = start(photos, root)
        time.sleep(rng.uniform(0, span))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for store in root.glob("pixels-*"):
            if (store / "store.json").exists():
                found = verify_store(store)
                assert found["intact"], found["problems"]
    finish(photos, root)


@pytest.mark.parametrize(
    "n", [N_SHORT, pytest.param(N_LONG, marks=pytest.mark.slow, id="full")]
)
def test_killed_and_resumed_ends_byte_equal(photos: Path, tmp_path: Path, n: int):
    span = finish(photos, tmp_path / "whole")
    expected = committed(tmp_path / "whole")
    assert len([name for name in expected if name.startswith("shards/")]) == 11
    rng = random.Random(0)
    for i in range(n):
        kill_and_finish(photos, tmp_path / str(i), rng, span)
        assert committed(tmp_path / str(i)) == expected


def test_two_at_once_compute_each_row_once(photos: Path, tmp_path: Path):
    finish(photos, tmp_path / "whole")
    both = [start(photos, tmp_path / "shared") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert committed(tmp_path / "shared") == committed(tmp_path / "whole")
    (history,) = (tmp_path / "shared").glob("pixels-*/extractions.jsonl")
    records = [json.loads(line) for line in history.read_text().splitlines()]
    computed = [r["rows_computed"] for r in records if r["event"] == "extraction"]
    assert computed == [80]
