"""Which run is in use: old or new at any moment, and back again."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tl_pipeline.errors import NotFoundError, RunDamagedError
from tl_pipeline.runs.current import (
    current_file,
    find_current,
    hold_gate,
    ledger_file,
    read_current,
    roll_back,
    switch,
)
from tl_pipeline.runs.run import load_run, write_run

# `kill -9` of the own process at the n-th system call that matters.
PROGRAM = """
import os, pathlib, signal, sys
import numpy as np
from tl_pipeline.runs.current import current_file, hold_gate, ledger_file, switch
from tl_pipeline.runs.ledger import Ledger

path, n, calls = current_file(pathlib.Path(sys.argv[1]), "photos"), int(sys.argv[2]), 0

def deadly(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

os.fsync = deadly(os.fsync)
pathlib.Path.open = deadly(pathlib.Path.open)
pathlib.Path.replace = deadly(pathlib.Path.replace)
if n < 0:
    print("ready", flush=True)
    sys.stdin.readline()
with hold_gate(path):
    ledger = Ledger(ledger_file(path))
    look = ledger.next_look(np.full((1, 32), 7, np.uint8))
    ledger.record_look(look, {"run": "b" * 64, "against": "a" * 64})
    switch(path, "photos", run="photos-b", identity="b" * 64)
print(calls)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = current_file(tmp_path, "photos")
    switch(found, "photos", run="photos-a", identity="a" * 64)
    return found


def start(root: Path, n: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(root), str(n)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_switch_remembers_what_was_in_use_and_a_rollback_returns_to_it(path: Path):
    switch(path, "photos", run="photos-b", identity="b" * 64)
    third = switch(path, "photos", run="photos-c", identity="c" * 64)
    assert read_current(path) == third
    assert third.folder == path.parent / "photos-c"
    assert [one.run for one in third.before] == ["photos-a", "photos-b"]
    second = roll_back(path)
    assert read_current(path) == second
    assert (second.now.identity, second.previous) == (
        "b" * 64,
        path.parent / "photos-a",
    )
    assert roll_back(path).now.run == "photos-a"
    with pytest.raises(NotFoundError, match="none was before it"):
        roll_back(path)
    current = read_current(path)
    assert current and current.now.run == "photos-a"


def test_without_a_run_in_use_there_is_nothing_to_roll_back(tmp_path: Path):
    path = current_file(tmp_path, "photos")
    assert read_current(path) is None
    with pytest.raises(NotFoundError, match="no such file"):
        roll_back(path)


def test_killed_at_any_step_the_old_or_the_new_run_is_in_use(tmp_path: Path):
    def prepare(name: str) -> Path:
        found = current_file(tmp_path / name, "photos")
        with hold_gate(found):
            switch(found, "photos", run="photos-a", identity="a" * 64)
        return found

    whole, _ = start(prepare("whole").parent).communicate()
    n_calls = int(whole)
    assert n_calls >= 8  # two files: each opened, synced, renamed, and the folder
    seen = set()
    for n in range(1, n_calls + 1):
        path = prepare(str(n))
        process = start(path.parent, n)
        process.communicate()
        assert process.returncode == -9
        current = read_current(path)
        assert current
        seen.add(current.now.run)
        looked = ledger_file(path).exists()
        # A head is never in use before the look at it is paid for.
        assert looked or current.now.run == "photos-a"
        if n % 4 == 0:
            again = start(path.parent)
            again.communicate()
            assert again.returncode == 0  # the lock died with its holder
    assert seen == {"photos-a", "photos-b"}


def test_a_write_that_ends_halfway_leaves_what_was_there(path: Path):
    start(path.parent).communicate()
    files = path, ledger_file(path)
    before = [file.read_bytes() for file in files]
    size = len(before[1]) + 10
    limit = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({size}, {size}))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + PROGRAM, str(path.parent), "0"],
        capture_output=True,
        text=True,
    )
    assert "File too large" in done.stderr
    assert [file.read_bytes() for file in files] == before
    assert not list(path.parent.glob(".tmp-*"))


def test_of_many_at_once_none_is_lost(path: Path):
    processes = [start(path.parent, -1) for _ in range(6)]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    current = read_current(path)
    assert current and len(current.before) == 6
    rows = [json.loads(row) for row in ledger_file(path).read_text().splitlines()]
    assert [row["look"] for row in rows] == [1, 2, 3, 4, 5, 6]


def test_the_file_stands_for_the_run_wherever_a_run_is_named(
    tmp_path: Path, parts: dict[str, Any]
):
    run = write_run(tmp_path, "photos", **parts)
    path = current_file(tmp_path, "photos")
    with pytest.raises(NotFoundError, match="no such file"):
        load_run(path)
    switch(path, "photos", run=run.path.name, identity=run.identity)
    assert load_run(path).path == run.path


def test_names_of_datasets_do_not_meet_and_do_not_leave_the_folder(tmp_path: Path):
    names = ["a/b", "a_b", "..", ".", "", "日本", "x" * 300, "x" * 301]
    files = [current_file(tmp_path, name) for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert file.parent == tmp_path
        assert len(file.name.encode()) < 255


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"dataset": "x"}', '{"dataset":"x","now":{"run":"../y"},"before":[]}'],
)
def test_a_file_that_says_nothing_is_named_with_the_way_out(path: Path, text: str):
    path.write_text(text)
    with pytest.raises(RunDamagedError, match="does not say which run is in use"):
        read_current(path)


def test_the_file_is_found_by_itself_by_its_dataset_or_alone_in_its_root(path: Path):
    root = path.parent
    assert find_current(path) == path
    assert find_current(root / "photos") == path
    assert find_current(root) == path
    other = switch(current_file(root, "more"), "more", run="more-a", identity="a" * 64)
    with pytest.raises(NotFoundError, match="more.current.json, .*photos.current.json"):
        find_current(root)
    assert find_current(root / "more") == other.path
    with pytest.raises(NotFoundError, match=r"photos\.current\.json"):
        find_current(root / "phtos")
