"""Runs in a row while workers are killed, the server restarts and the disk is full."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOOP = Path(__file__).with_name("soak_loop.py")
WENT_ON = ("Promoted", "Held", "Unchanged")
# What a run may end in that met a trouble, by the state's name. A blow may come after
# the work is done.
ENDS = {
    "none": WENT_ON,
    "grow": WENT_ON,
    "kill run": (*WENT_ON, "Crashed"),
    "restart server": (*WENT_ON, "Crashed"),
    "full disk": ("Failed",),
    "kill worker": (*WENT_ON, "Crashed"),
    "lose machine": (*WENT_ON, "Crashed"),
}


def soak(root: Path, n_runs: int, seed: int) -> list[dict[str, Any]]:
    for options in (["-rUmn"], ["-mn"]):
        command = ["unshare", *options, sys.executable, str(LOOP), str(root)]
        try:
            done = subprocess.run(
                [*command, str(n_runs), str(seed)], capture_output=True, text=True
            )
        except FileNotFoundError:
            pytest.skip("`unshare` is not installed")
        if done.stdout:
            break
    else:
        if "unshare" in done.stderr or "mount" in done.stderr or "Perm" in done.stderr:
            pytest.skip("no name spaces of disks and networks may be made here")
    log = root / "log.txt"
    assert done.returncode == 0, done.stderr + log.read_text()[-5000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("n_runs", "seed"), [(4, 0), pytest.param(20, 1, marks=pytest.mark.slow)]
)
def test_every_run_ends_in_a_right_state_whatever_happens_to_it(
    n_runs: int, seed: int, tmp_path: Path
):
    *runs, left = soak(tmp_path, n_runs, seed)
    assert len(runs) == n_runs
    for run in runs:
        assert run["name"] in ENDS[run["trouble"]], run
        if run["name"] == "Failed":
            assert "RoomError" in run["says"] or "No space" in run["says"], run
    assert runs[-1]["name"] in WENT_ON
    assert left == {"verified": True, "unfinished": [], "processes": [], "refused": 0}
