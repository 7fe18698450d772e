"""A run appears whole or not at all, however many write it and whenever they die."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tl_pipeline.runs import find_run, list_runs, load_run, run_identity, write_run
from tl_pipeline.runs.run import FILES

ASKED = {"version": "1", "spec": "s", "snapshot": "t", "features": ["p"], "heads": {}}
IDENTITY = run_identity(ASKED)

# `die(n)`: kill -9 of the own process at the n-th system call that matters, each of
# them a moment at which a half-written run is at its most dangerous.
PROGRAM = f"""
import os, pathlib, signal, sys
import numpy as np
from tl_pipeline.runs import Predictions, write_run
from tl_pipeline.tasks import Task

root, n, who = sys.argv[1], int(sys.argv[2]), sys.argv[3]
calls = 0

def deadly(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

os.fsync = deadly(os.fsync)
pathlib.Path.mkdir = deadly(pathlib.Path.mkdir)
pathlib.Path.rename = deadly(pathlib.Path.rename)
pathlib.Path.write_bytes = deadly(pathlib.Path.write_bytes)
if who != "-":
    print("ready", flush=True)
    sys.stdin.readline()
run = write_run(
    pathlib.Path(root), "x", asked={ASKED!r}, provenance={{"who": who}},
    head={{"spec": {{}}}}, head_arrays={{"kernel": np.ones((300, 300))}}, metrics={{}},
    predictions=Predictions(("a",), np.zeros((1, 32), np.uint8), ("test",),
                            np.zeros(1, int), np.eye(2)[:1],
                            Task("binary", ("p", "q"))),
    report="page",
)
print(calls, run.provenance["who"])
"""


def start(root: Path, n: int = 0, who: str = "-") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root), str(n), who],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_killed_at_any_step_no_half_run_is_seen_and_the_next_one_works(tmp_path: Path):
    whole, _ = start(tmp_path / "whole").communicate()
    n_calls = int(whole.split()[0])
    assert n_calls >= len(FILES) * 2  # or nothing would be synced
    # Not there until the rename, there after it: the last step is the folder's fsync.
    for n in (*range(1, n_calls - 1, 3), n_calls - 1, n_calls):
        root = tmp_path / str(n)
        process = start(root, n)
        process.communicate()
        assert process.returncode == -9
        run = find_run(root, "x", IDENTITY)
        assert list_runs(root) == ([run.path] if run else [])
        assert (run is not None) == (n == n_calls)
    again = start(tmp_path / str(n_calls - 1))
    again.communicate()
    assert again.returncode == 0
    assert find_run(tmp_path / str(n_calls - 1), "x", IDENTITY)


def test_two_that_write_the_same_run_at_once_both_get_the_one_that_stays(
    tmp_path: Path,
):
    writers = [start(tmp_path, who=who) for who in ("first", "second")]
    for writer in writers:
        assert writer.stdout and writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    answers = [writer.communicate()[0].split()[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    (path,) = list_runs(tmp_path)
    assert answers == [load_run(path).provenance["who"]] * 2
    assert os.listdir(tmp_path) == [path.name]


def test_a_full_disk_gives_one_clean_error_and_leaves_nothing(tmp_path: Path):
    limited = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited + PROGRAM, str(tmp_path), "0", "-"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "too large" in done.stderr.splitlines()[-1]
    assert os.listdir(tmp_path) == []


def test_a_failing_sync_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: dict
):
    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        write_run(tmp_path, "x", **parts)
    assert os.listdir(tmp_path) == []
