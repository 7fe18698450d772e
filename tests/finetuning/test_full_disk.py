"""A disk that is really full while a checkpoint is saved: a tmpfs of few megabytes."""

import subprocess
import sys
from pathlib import Path

import pytest

SAVE = """
import os, sys
from pathlib import Path
import numpy as np
from tl_pipeline.errors import TrainingError
from tl_pipeline.finetuning.checkpoints import Checkpoints

root = Path(sys.argv[1])
rng = np.random.default_rng(0)
trees = [{"a": rng.standard_normal(100_000), "b": np.arange(3)} for _ in range(2)]
with Checkpoints(root / "kept", identity="x") as checkpoints:
    checkpoints.save(1, trees[0], {"n": 1})
    free = os.statvfs(root)
    ballast = root / "ballast"
    with ballast.open("wb") as file:
        file.write(bytes(free.f_bavail * free.f_bsize - 200_000))
    try:
        checkpoints.save(2, trees[1], {"n": 2})
    except TrainingError as error:
        print(error, flush=True)
with Checkpoints(root / "kept", identity="x") as checkpoints:
    found = checkpoints.load(trees[0])
    print("loaded", found.step, found.about, (found.tree["a"] == trees[0]["a"]).all())
ballast.unlink()
with Checkpoints(root / "kept", identity="x") as checkpoints:
    checkpoints.save(2, trees[1], {"n": 2})
    found = checkpoints.load(trees[0])
    print("saved", found.step, (found.tree["a"] == trees[1]["a"]).all())
"""
MOUNT = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -c "$3" "$1"'


def test_a_full_disk_is_one_sentence_and_the_checkpoint_before_it_is_kept(
    tmp_path: Path,
):
    for options in (["-Urm"], ["-m"]):
        command = ["unshare", *options, "sh", "-c", MOUNT, "sh", str(tmp_path)]
        try:
            done = subprocess.run(
                [*command, sys.executable, SAVE],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            pytest.skip("`unshare` is not installed")
        if done.stdout:
            break
    else:
        if "mount" in done.stderr or "unshare" in done.stderr:
            pytest.skip("neither a user namespace nor root may mount a tmpfs here")
    assert done.returncode == 0, done.stderr
    sentence, loaded, saved = done.stdout.splitlines()
    assert sentence.startswith("Asked to write a checkpoint in")
    assert "; the checkpoint of step 1 is kept in" in sentence
    assert loaded == "loaded 1 {'n': 1} True"
    assert saved == "saved 2 True"
