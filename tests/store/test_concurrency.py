"""Many processes write and read one store at once, and none notices the others."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOOP = Path(__file__).with_name("crowd_loop.py")


def run_loop(folder: Path, *, rounds: int, opens: int) -> dict:
    done = subprocess.run(
        [sys.executable, LOOP, folder, f"--rounds={rounds}", f"--opens={opens}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert report["opens"] >= opens
    # The loop is worth nothing unless each of these came about, as it must: some row
    # of the first snapshot is collected, and its shard is written anew or merged.
    for what in ("computed", "refused", "reloaded", "rows", "verified"):
        assert report[what] > 0, what
    return report


def test_two_and_four_at_once_write_as_one_after_the_other_and_read_no_wrong_row(
    tmp_path,
):
    assert run_loop(tmp_path, rounds=2, opens=200)["holds"] == (2 + 4) * 5


@pytest.mark.slow
def test_fifty_crowds_of_two_four_and_eight_and_ten_thousand_opens(tmp_path):
    run_loop(tmp_path, rounds=50, opens=10_000)


WRITER = """
import os, sys, time
from pathlib import Path
from tl_pipeline.store.lock import hold_lock
def say(what):
    print(what, time.monotonic(), flush=True)
with hold_lock(Path(sys.argv[1]), on_wait=say):
    say("held")
    sys.stdin.readline()
"""


def start_writer(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hear(writer: subprocess.Popen[str]) -> tuple[str, float]:
    """Returns what a writer says, and when by the clock of all processes."""
    assert writer.stdout
    what, _, when = writer.stdout.readline().strip().rpartition(" ")
    return what, float(when)


def test_who_waits_has_the_lock_within_a_second_of_its_holders_death(tmp_path):
    seconds = []
    with start_writer(tmp_path) as holder:
        assert hear(holder)[0] == "held"
        for _ in range(3):
            waiter = start_writer(tmp_path)
            sentence, _ = hear(waiter)
            assert f"is being written by process {holder.pid} on" in sentence
            killed = time.monotonic()
            os.kill(holder.pid, signal.SIGKILL)
            what, held = hear(waiter)
            assert what == "held"
            seconds.append(held - killed)
            holder.communicate()
            holder = waiter
        holder.communicate("\n")
    # The wait polls ten times a second. The least of three tells what the lock does;
    # the others may tell how busy the machine is.
    assert min(seconds) < 1, seconds
