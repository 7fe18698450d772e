"""A writer killed at any moment leaves a store that opens, verifies and continues."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = Path(__file__).with_name("crash_loop.py")


def run_loop(folder: Path, *options: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(LOOP), str(folder), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_report(report: dict) -> None:
    assert report["problems"] == []
    # The loop is worth nothing unless every kind of failure is among its examples.
    assert report["failed"] >= 2
    assert report["retry"] == 1


def test_a_writer_killed_at_random_moments_ends_byte_equal_to_an_uninterrupted_one(
    tmp_path,
):
    report = run_loop(tmp_path, "--random", "15", "--seed", "1", "--examples", "40")
    check_report(report)
    assert report["kills"] >= 15
    assert report["shards"] > 8


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_a_writer_killed_at_every_step_ends_byte_equal_to_an_uninterrupted_one(
    tmp_path, every
):
    report = run_loop(tmp_path, "--steps", "--examples", "6", "--every", str(every))
    check_report(report)
    for name in ("write", "fsync", "replace"):
        assert {f"before {name}"} <= set(report["steps"])
    assert report["kills"] > 60 // every


@pytest.mark.slow
def test_two_hundred_kills_and_every_step_of_many_shards(tmp_path):
    check_report(run_loop(tmp_path, "--random", "200", "--examples", "40"))
    check_report(run_loop(tmp_path, "--steps", "--examples", "40"))
