"""Whose turn it is: one run of a pipeline at a time, and none after a dead one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tl_pipeline.config import PipelineConfig, make_config
from tl_pipeline.errors import StoreLockedError
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.turn import take_turn


def configure(root: Path, source: str = "builtin:digits-shifted") -> PipelineConfig:
    plain = {
        "data": {"source": source},
        "backbone": {"name": "pixels"},
        "baselines": {"names": []},
        "heads": {"l2": [0.1]},
        "store": {"root": str(root / "stores")},
        "run": {"root": str(root / "runs")},
    }
    return make_config(plain, where="of a test")


def hold(root: Path) -> subprocess.Popen[str]:
    """Starts a process that holds the turn until it is killed."""
    code = (
        "import json, sys, time\n"
        "from tl_pipeline.config import make_config\n"
        "from tl_pipeline.stages.turn import take_turn\n"
        "with take_turn(make_config(json.loads(sys.argv[1]), where='')):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    plain = json.dumps(configure(root).to_json())
    process = subprocess.Popen(
        [sys.executable, "-c", code, plain], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_told_of_the_first_and_one_of_other_data_goes_on(
    tmp_path: Path,
):
    with hold(tmp_path) as holder:
        try:
            said = f"digits-shifted with pixels is run by process {holder.pid}"
            with pytest.raises(StoreLockedError, match=said):
                run_local(configure(tmp_path), wait=False)
            with take_turn(configure(tmp_path, "builtin:digits"), wait=False):
                pass
            with take_turn(configure(tmp_path), "train", wait=False):
                pass
        finally:
            holder.kill()


def test_a_run_with_nothing_new_loads_no_library_that_takes_a_second(tmp_path: Path):
    plain = json.dumps(configure(tmp_path).to_json())
    code = (
        "import json, sys\n"
        "from tl_pipeline.config import make_config\n"
        "from tl_pipeline.stages.pipeline import run_local\n"
        "found = run_local(make_config(json.loads(sys.argv[1]), where=''))\n"
        "print(found['train']['reused'], 'jax' in sys.modules)\n"
        "print([x for x in ('jax', 'matplotlib', 'scipy') if x in sys.modules])\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, plain], capture_output=True, text=True
        ).stdout.split("\n")[:2]
        for _ in range(2)
    ]
    assert said[0][0] == "False True"
    assert said[1] == ["True False", "[]"]


def test_the_turn_of_a_killed_run_is_free_at_once(tmp_path: Path):
    with hold(tmp_path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert run_local(configure(tmp_path), wait=False)["train"]["heads_trained"]
