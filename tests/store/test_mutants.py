"""Damaged and forged stores: refused or read right; no crash, hang or greed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = Path(__file__).with_name("mutant_loop.py")


@pytest.mark.parametrize("n", [120, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_mutant_of_a_store_crashes_hangs_or_is_read_wrongly(tmp_path: Path, n: int):
    done = subprocess.run(
        [sys.executable, str(LOOP), str(tmp_path), "--mutants", str(n)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["problems"] == []
    counts = report["counts"]
    assert sum(sum(found.values()) for found in counts.values()) == n
    # Each of the forgeries came, and none of them passed for a store's file.
    forged = [kind for kind in counts if kind.startswith("forged: ")]
    assert len(forged) == 20
    assert all(set(counts[kind]) == {"found"} for kind in forged)
