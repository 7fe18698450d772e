"""A fine-tuning that is killed: the next one ends in the very bytes."""

import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.train import train

# Kills itself after so many steps, by the signal that no process can answer.
PROGRAM = """
import os, signal, sys
from tl_pipeline.progress import NoProgress
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.finetune import finetune

class Kill(NoProgress):
    left = int(sys.argv[3])
    def advance(self, n):
        self.left -= n
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

print("begin", flush=True)
report = finetune(
    sys.argv[1], run_root=sys.argv[2], unfreeze=["stage2"], epochs=2, batch_size=64,
    learning_rate=3e-4, augment="none", augment_settings={"brightness": 0.1},
    head_dropout=0.02, checkpoint_steps=3,
    progress=Kill(),
)
print(report.rows[1]["run"])
"""
NEVER = -1
N_STEPS = 20  # 2 epochs of 10


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("kill")
    extracted = extract(
        load_dataset("builtin:digits-shifted"),
        load_backbone("digits_cnn"),
        features=["pool"],
        store_root=root / "stores",
    )
    return train(extracted.store, run_root=root / "runs", l2=[0.003]).run


def start(base: str, root: Path, kill_at: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, base, str(root), str(kill_at)],
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(base: str, root: Path) -> dict[str, str]:
    """Runs to the end and returns the digests of what must be equal."""
    process = start(base, root, NEVER)
    told, _ = process.communicate()
    assert process.returncode == 0
    run = Path(told.split()[-1])
    about = json.loads((run / "run.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    weights = Path(about["provenance"]["weights"])
    found = metrics["finetune"]
    assert found["steps"] == N_STEPS and found["best_epoch"] > 0
    return {
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "head": about["files"]["head.safetensors"],
        "predictions": about["files"]["predictions.parquet"],
        "epochs": json.dumps(found["epochs"]),
    }


@pytest.fixture(scope="module")
def expected(base: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return finish(base, tmp_path_factory.mktemp("whole"))


def test_killed_at_a_step_and_resumed_it_ends_in_the_same_bytes(
    base: str, expected: dict[str, str], tmp_path: Path
):
    step = random.Random(0).randrange(4, N_STEPS)
    process = start(base, tmp_path, step)
    process.communicate()
    assert process.returncode == -9
    (folder,) = tmp_path.glob(".checkpoints-*")
    saved = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    assert max(saved) == (step - 1) // 3 * 3  # killed before it saved that one
    assert finish(base, tmp_path) == expected


@pytest.mark.slow
def test_killed_at_any_time_and_resumed_it_ends_in_the_same_bytes(
    base: str, expected: dict[str, str], tmp_path: Path
):
    begin = time.monotonic()
    finish(base, tmp_path / "timed")
    span, rng = time.monotonic() - begin, random.Random(0)
    for i in range(20):
        for _ in range(rng.randint(1, 3)):
            process = start(base, tmp_path / str(i), NEVER)
            time.sleep(rng.uniform(0, span))
            process.kill()
            process.communicate()
        assert finish(base, tmp_path / str(i)) == expected
