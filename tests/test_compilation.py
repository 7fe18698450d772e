import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.stages.import_features import import_features

COMMAND = [sys.executable, "-c", "from tl_pipeline.cli import main; main()"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("compiled")
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    target = np.array(["ant", "bee", "cat"])[np.abs(rows).argmax(axis=1) % 3]
    ids = np.array([f"{row:03}" for row in range(300)])
    np.savez(root / "few.npz", pool=rows, target=target, id=ids)
    made = {"backbone": "some net", "weights": "theirs", "dataset": "few"}
    return import_features([root / "few.npz"], store_root=root / "s", **made).store


def train(store: str, runs: Path, **environment: str) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if "JAX_" not in name}
    return subprocess.run(
        [*COMMAND, "train", "--store", store, "--run-root", str(runs)],
        env=kept | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def home(store: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where one process has trained."""
    home = tmp_path_factory.mktemp("home")
    assert train(store, home / "runs", **settings(home)).returncode == 0
    return home


def settings(home: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(home / "caches"), "HOME": str(home)}


def list_files(home: Path) -> set[Path]:
    return {path for path in home.joinpath("caches").rglob("*") if path.is_file()}


def test_a_second_process_compiles_nothing(store: str, home: Path, tmp_path: Path):
    made = list_files(home)
    logged = {"JAX_DEBUG_LOG_MODULES": "jax._src.compiler"}
    again = train(store, tmp_path / "runs", **settings(home), **logged)
    assert again.returncode == 0
    assert "Persistent compilation cache hit" in again.stderr
    assert "CACHE MISS" not in again.stderr
    assert made == list_files(home) != set()


@pytest.mark.parametrize("fault", ["a file in its place", "every entry cut short"])
def test_a_cache_that_cannot_be_used_costs_nothing_but_time(
    store: str, home: Path, tmp_path: Path, fault: str
):
    caches = tmp_path / "caches"
    if fault == "a file in its place":
        caches.write_text("")
    else:
        shutil.copytree(home / "caches", caches)
        for path in list_files(tmp_path):
            path.write_bytes(path.read_bytes()[:20])
    found = train(store, tmp_path / "runs", **settings(tmp_path))
    assert found.returncode == 0
    assert "compilation cache" not in found.stderr
