"""Heads fitted by real Dask workers, one of which dies, beside those of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_pipeline.config import load_config
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.pipeline import extract_step, train_step
from tl_pipeline.stages.train import train

CONFIG = """
[data]
source = "builtin:digits"
[backbone]
name = "pixels"
[store]
root = "{root}/stores"
[heads]
kinds = ["linear", "ridge", "knn"]
l2 = [0.01, 1.0]
[sweep]
runner = "{runner}"
[baselines]
names = []
[run]
root = "{root}/runs-{runner}"
"""
KINDS = {"linear", "ridge", "knn"}

PROGRAM = """
if __name__ == "__main__":  # and not where workers load it
    import json, sys
    from pathlib import Path
    from flows.train import training
    from tl_pipeline.config import load_config

    found = []
    for path in sys.argv[1:]:
        one = training(load_config(Path(path)))["train"]
        found.append(one | {"dask": "distributed" in sys.modules})
    json.dump(found, sys.stdout)
"""

# Loaded by each worker as it starts: says what it fits, and takes its time.
SAY = """
import os, time
from tl_pipeline.stages import sweep_jobs

def do_sweep(job, *, do=sweep_jobs.do_sweep):
    with open(os.environ["SAID"], "a") as file:
        file.write(f"{os.getpid()} {job.label}\\n")
    time.sleep(1)
    return do(job)

if sweep_jobs.do_sweep.__module__ == sweep_jobs.__name__:
    sweep_jobs.do_sweep = do_sweep
"""


@pytest.fixture
def configs(tmp_path: Path) -> tuple[Path, Path]:
    """Configurations of the same training, here and on Dask; here it was done."""
    paths = []
    for runner in ("local", "dask"):
        path = tmp_path / f"{runner}.toml"
        path.write_text(CONFIG.format(root=tmp_path, runner=runner))
        paths.append(path)
    config = load_config(paths[0]).to_json()
    train_step(config, extract_step(config))
    return paths[0], paths[1]


def flatten(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {name: value}
    return {
        key: one
        for part, inner in items
        for key, one in flatten(inner, f"{name}.{part}").items()
    }


def assert_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Sees that two runs are of the same heads, up to where an iteration stopped.

    With another number of threads sums are rounded otherwise.
    """
    kept = ("identity", "chosen", "selection", "val", "test", "candidates", "counts")
    left, right = (
        flatten({key: report[key] for key in kept}) for report in (one, other)
    )
    assert left.keys() == right.keys()
    for name, value in left.items():
        if isinstance(value, float):
            assert value == pytest.approx(right[name], rel=2e-3), name
        else:
            assert value == right[name], name


def test_heads_of_workers_are_those_of_one_process_though_a_worker_dies(
    server: Any, configs: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "say.py").write_text(SAY)
    said = tmp_path / "said"
    here, there = configs
    process = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", here, there, there],
        env=server.environment
        | {
            "DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(tmp_path / "say.py")]),
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "SAID": str(said),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not said.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(int(said.read_text().split()[0]), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    local, dask, again = json.loads(out)
    assert local["reused"] and not local["dask"]  # the extraction's run trained it
    assert not dask["reused"] and dask["dask"]
    assert again["reused"] and again["run"] == dask["run"]
    assert_alike(dask, local)
    one, other = (load_run(report["run"]).head_arrays() for report in (local, dask))
    assert one.keys() == other.keys()
    for name, array in one.items():
        bound = 1e-3 * np.abs(array).max()
        np.testing.assert_allclose(other[name], array, atol=bound)
    fitted = [line.split(" ", 1) for line in said.read_text().splitlines()]
    assert {label.split()[0] for _, label in fitted} == KINDS
    assert len(fitted) == len(KINDS) + 1  # what the dead one was at is done again
    assert len({pid for pid, _ in fitted}) >= 2


def test_a_runner_that_finds_nobody_is_not_asked_where_the_run_exists(
    configs: tuple[Path, Path], tmp_path: Path
) -> None:
    class Nobody:
        def run(self, jobs: Any) -> Any:
            raise AssertionError("nothing is to be fitted")

    (run,) = (tmp_path / "runs-local").glob("digits-*")
    asked = json.loads((run / "run.json").read_text())["asked"]
    found = train(
        next((tmp_path / "stores").glob("pixels-*")),
        run_root=tmp_path / "runs-local",
        features=asked["features"],
        runner=Nobody(),
        **{key: value for key, value in asked["heads"].items() if key != "features"},
    )
    assert found.reused
