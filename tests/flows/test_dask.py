"""Extraction on real Dask workers, which may die, beside that of one process."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.store.verify import verify_store

CONFIG = """
[data]
source = "{data}"
max_failures = 0.5
[backbone]
name = "{backbone}"
[store]
root = "{root}/stores"
views = {views}
[extract]
runner = "{runner}"
[baselines]
names = {baselines}
"""

# As `python -m flows.extract` of each configuration, with shards of few rows.
PROGRAM = """
if __name__ == "__main__":  # and not where workers load it
    import json, sys
    from pathlib import Path
    from tl_pipeline.store import schema
    from flows.extract import extraction
    from tl_pipeline.config import load_config
    from tl_pipeline.errors import TlPipelineError

    schema.SHARD_BYTES = int(sys.argv[1])
    found = []
    for path in sys.argv[2:]:
        try:
            one = extraction(load_config(Path(path)))
        except TlPipelineError as error:
            one = {"error": str(error)}
        found.append(one | {"dask": "distributed" in sys.modules})
    json.dump(found, sys.stdout)
"""

# Loaded by each worker as it starts: says what it computes, and takes its time.
SAY = """
import os, time
from pathlib import Path
from tl_pipeline.errors import StoreError
from tl_pipeline.stages import jobs

def say(what, job):
    with open(os.environ["SAID"], "a") as file:
        file.write(f"{what} {os.getpid()} {job.label}\\n")

def do_job(job, *, workers=None, do=jobs.do_job):
    say("begin", job)
    refused = Path(os.environ["REFUSED"])
    if refused.exists() and refused.read_text() == job.label[-8:]:
        raise StoreError("the cable was pulled")
    time.sleep(float(os.environ["TAKE"]))
    outcome = do(job, workers=workers)
    say("end", job)
    return outcome

if jobs.do_job.__module__ == jobs.__name__:  # a worker loads this more than once
    jobs.do_job = do_job
"""
SHARD_ROWS = 6
SHARD_BYTES = SHARD_ROWS * 2 * 3 * 32**2  # of raw pixels
N_RANGES = 11  # of 60 pictures and a broken one


class Said(NamedTuple):
    """A line that a worker wrote."""

    what: str
    pid: int
    label: str


class Extraction:
    """Extractions in one process, in a session of its own with all that it starts."""

    def __init__(
        self, server: Any, root: Path, *configs: Path, shard_bytes: int, take: float
    ):
        (root / "program.py").write_text(PROGRAM)
        (root / "say.py").write_text(SAY)
        self._said = root / "said"
        self.process = subprocess.Popen(
            [sys.executable, root / "program.py", str(shard_bytes), *configs],
            env=server.environment
            | {
                "DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(root / "say.py")]),
                "PREFECT_LOGGING_LEVEL": "CRITICAL",
                "REFUSED": str(root / "refused"),
                "SAID": str(self._said),
                "TAKE": str(take),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def said(self) -> list[Said]:
        lines = self._said.read_text().splitlines() if self._said.exists() else []
        words = [line.split(" ", 2) for line in lines]
        return [Said(what, int(pid), label) for what, pid, label in words]

    def wait_for_work(self, n_ended: int) -> Said:
        """Returns what a worker computes now, after some ranges were computed."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            said = self.said()
            ended = {one[1:] for one in said if one.what == "end"}
            open_ = [s for s in said if s.what == "begin" and s[1:] not in ended]
            if len(ended) >= n_ended and open_:
                return open_[-1]
            time.sleep(0.02)
        raise TimeoutError(str(self.said()))

    def finish(self) -> list[dict[str, Any]]:
        """Waits for its end, and sees that it said nothing and left nothing."""
        out, err = self.process.communicate(timeout=300)
        left = processes_of(self.process.pid)
        assert not left, left
        assert self.process.returncode == 0, err
        return json.loads(out)


def processes_of(session: int, seconds: float = 10) -> list[str]:
    """Returns the processes of a session that have not ended within seconds."""
    deadline = time.monotonic() + seconds
    while True:
        found = subprocess.run(
            ["ps", "-o", "pid=,args=", "-s", str(session)],
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        found = [line for line in found if "<defunct>" not in line]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "photos"
    rng = np.random.default_rng(0)
    for name in ("ants", "bees"):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    (folder / "bees" / "broken.png").write_bytes(b"not an image")
    return folder


Ask = Callable[..., Path]


@pytest.fixture
def ask(photos: Path, tmp_path: Path) -> Ask:
    """Writes the configuration of an extraction into a folder under a name."""

    def write(
        name: str,
        runner: str,
        *,
        backbone: str = "pixels",
        views: int = 0,
        baselines: tuple[str, ...] = (),
    ) -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        path = root / f"{runner}.toml"
        path.write_text(
            CONFIG.format(
                data=photos,
                root=root,
                runner=runner,
                backbone=backbone,
                views=views,
                baselines=list(baselines),
            )
        )
        return path

    return write


Start = Callable[..., Extraction]


@pytest.fixture
def start(server: Any, tmp_path: Path) -> Start:
    """Starts extractions, of which a worker takes some seconds more for each range."""

    def start_all(
        *configs: Path, shard_bytes: int = SHARD_BYTES, take: float = 0
    ) -> Extraction:
        return Extraction(
            server, tmp_path, *configs, shard_bytes=shard_bytes, take=take
        )

    return start_all


def list_shards(store: Path) -> list[str]:
    manifest = json.loads((store / "store.json").read_text())
    return [entry["name"] for entry in manifest["shards"]]


def committed(root: Path) -> dict[str, bytes]:
    """Returns the bytes of all that must not depend on who computed it."""
    kept = ("store.json", "failures.jsonl", "shards/*", "snapshots/*")
    files = [file for pattern in kept for file in root.glob(f"stores/*/{pattern}")]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def test_workers_leave_the_bytes_of_one_process_though_one_dies_and_none_starts_idly(
    ask: Ask, start: Start, tmp_path: Path
):
    asked = {
        "backbone": "digits_cnn",
        "views": 2,
        "baselines": ("pixels", "random:0"),
    }
    extraction = start(
        ask("here", "local", **asked),
        ask("here", "dask", **asked),
        ask("elsewhere", "dask", **asked),
        shard_bytes=2048,
        take=0.2,
    )
    struck = extraction.wait_for_work(n_ended=4)
    os.kill(struck.pid, signal.SIGKILL)
    one, unchanged, other = extraction.finish()
    assert unchanged["rows_computed"] == 0 and not unchanged["dask"]
    assert committed(tmp_path / "elsewhere") == committed(tmp_path / "here")
    for name in ("rows_computed", "views_computed", "failures"):
        assert other[name] == one[name], name
    assert other["rows_computed"] == 60 and other["views_computed"] > 60
    assert [failure["id"] for failure in other["failures"]] == ["bees/broken.png"]
    # Nothing but what it was at is computed again.
    said = extraction.said()
    begun = Counter(one.label for one in said if one.what == "begin")
    ended = Counter(one.label for one in said if one.what == "end")
    assert begun - ended == {struck.label: 1}
    assert len({one.pid for one in said}) >= 2


def test_an_error_of_a_worker_is_the_flows_and_what_is_committed_stays(
    ask: Ask, start: Start, photos: Path, tmp_path: Path
):
    files = [path.read_bytes() for path in photos.rglob("*.png")]
    digests = sorted(hashlib.sha256(data).hexdigest() for data in files)
    (tmp_path / "refused").write_text(digests[4 * SHARD_ROWS][:8])
    failed, rest, whole = start(
        ask("one", "dask"), ask("one", "local"), ask("here", "local"), take=0.2
    ).finish()
    assert failed == {"error": "the cable was pulled", "dask": True}
    assert 0 < rest["rows_computed"] < whole["rows_computed"] == 60
    assert committed(tmp_path / "one") == committed(tmp_path / "here")


@pytest.mark.slow
def test_twenty_times_a_worker_and_then_the_flow_are_killed_and_the_next_continues(
    ask: Ask, start: Start, tmp_path: Path
):
    start(ask("here", "local")).finish()
    rng = random.Random(0)
    for i in range(20):
        (tmp_path / "said").unlink(missing_ok=True)
        first = start(ask(str(i), "dask"), take=0.4)
        os.kill(first.wait_for_work(rng.randint(0, 3)).pid, signal.SIGKILL)
        first.wait_for_work(rng.randint(5, 7))
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.communicate()
        assert not processes_of(first.process.pid)
        check_begun(first.said())
        (store,) = tmp_path.glob(f"{i}/stores/pixels-*")
        found = verify_store(store)
        assert found["intact"], found["problems"]
        n_committed = len(list_shards(store))
        (tmp_path / "said").unlink()
        second = start(ask(str(i), "dask"), take=0.4)
        os.kill(second.wait_for_work(0).pid, signal.SIGKILL)
        second.finish()
        assert committed(tmp_path / str(i)) == committed(tmp_path / "here")
        assert check_begun(second.said()) == N_RANGES - n_committed


def check_begun(said: list[Said]) -> int:
    """Returns how many ranges were begun, of which one may have been begun twice."""
    begun = Counter(one.label for one in said if one.what == "begin")
    assert sum(begun.values()) <= len(begun) + 1, begun
    return len(begun)
