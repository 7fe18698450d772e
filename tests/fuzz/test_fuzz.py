"""Damaged and hostile files are refused in a sentence, or read for what they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = Path(__file__).with_name("fuzz_loop.py")
KINDS = (
    *("configs", "images", "keras", "safetensors", "targets", "torch"),
    *("weights_h5", "npz"),
)


@pytest.mark.parametrize("n", [60, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_no_mutant_crashes_hangs_or_is_read_wrongly(tmp_path: Path, kind: str, n: int):
    done = subprocess.run(
        [sys.executable, str(LOOP), kind, str(tmp_path), "--count", str(n)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["faults"] == []
    counts = report["counts"]
    # The loop is worth nothing unless mutants come to both ends.
    assert counts["refused"] + counts.get("accepted", 0) == n
    assert counts["accepted"] > n // 20
