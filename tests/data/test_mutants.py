"""Damaged tables and arrays: an error of ours or a dataset, and never anything else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = Path(__file__).parent / "mutant_loop.py"
FORMATS = [".csv", ".parquet", ".jsonl", ".npz", ".h5"]


def load_mutants(folder: Path, suffix: str, *, seed: int, first: int, count: int):
    arguments = [str(folder), suffix, *map(str, (seed, first, count))]
    done = subprocess.run(
        [sys.executable, str(LOOP), *arguments], capture_output=True, text=True
    )
    # The last words tell the mutant, and where it was when the process ended.
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
    outcomes = json.loads(done.stdout)
    assert sum(outcomes.values()) == count
    return outcomes


@pytest.mark.parametrize("suffix", FORMATS)
def test_damage_is_refused_or_harmless(tmp_path: Path, suffix: str):
    outcomes = load_mutants(tmp_path, suffix, seed=0, first=0, count=150)
    assert outcomes["refused"] > 50


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 2000, 500))
@pytest.mark.parametrize("suffix", FORMATS)
def test_ten_thousand_damaged_files_are_refused_or_harmless(
    tmp_path: Path, suffix: str, first: int
):
    load_mutants(tmp_path, suffix, seed=1, first=first, count=500)
