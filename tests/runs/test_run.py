import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tl_pipeline.errors import NotFoundError, RunDamagedError, SpecMismatchError
from tl_pipeline.runs.predictions import Predictions
from tl_pipeline.runs.run import (
    Run,
    find_run,
    list_runs,
    load_run,
    run_identity,
    write_run,
)
from tl_pipeline.tasks import Task

ASKED = {
    "version": "0.1.0",
    "spec": "a" * 64,
    "snapshot": "b" * 64,
    "features": ["pool"],
    "heads": {"kinds": ["linear"], "l2": [0.1], "n_seeds": 3},
    "baselines": [],
}


def write(root: Path, **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "asked": ASKED,
        "provenance": {"dataset": "d"},
        "head": {"kind": "linear", "spec": {"backbone": "pixels", "weights": "x"}},
        "head_arrays": {"kernel": np.arange(6.0).reshape(3, 2)[:, ::-1]},
        "metrics": {"test": {"accuracy": {"value": 0.5}}},
        "predictions": Predictions(
            ids=("a", "ä/b"),
            content=np.arange(64, dtype=np.uint8).reshape(2, 32),
            splits=("val", "test"),
            targets=np.array([0, 1]),
            outputs=np.array([[0.75, 0.25], [0.5, 0.5]]),
            task=Task("binary", ("ants", "bees")),
        ),
        "report": "<html></html>",
    }
    return write_run(root, "d", **(fields | changes))


def test_what_is_written_is_what_is_loaded(tmp_path: Path):
    run = load_run(write(tmp_path).path)
    assert run.asked == ASKED
    assert run.identity == run_identity(ASKED)
    assert run.spec == {"backbone": "pixels", "weights": "x"}
    np.testing.assert_array_equal(
        run.head_arrays()["kernel"], [[1.0, 0.0], [3.0, 2.0], [5.0, 4.0]]
    )
    table = pq.read_table(run.path / "predictions.parquet")
    assert table.to_pylist()[1] == {
        "id": "ä/b",
        "content_digest": bytes(range(32, 64)).hex(),
        "split": "test",
        "target": "bees",
        "predicted": "ants",
        "probability": 0.5,
        "probabilities": [0.5, 0.5],
    }
    assert json.loads(table.schema.metadata[b"classes"]) == ["ants", "bees"]


@pytest.mark.parametrize("key", ASKED)
def test_each_thing_asked_for_counts_in_the_identity(key: str):
    assert run_identity({**ASKED, key: "other"}) != run_identity(ASKED)
    assert run_identity(dict(reversed(ASKED.items()))) == run_identity(ASKED)


def test_asking_again_finds_the_run_and_asking_otherwise_does_not(tmp_path: Path):
    run = write(tmp_path)
    assert find_run(tmp_path, "d", run.identity) == run
    assert find_run(tmp_path, "d", run_identity({**ASKED, "version": "0.2.0"})) is None
    assert find_run(tmp_path / "none", "d", run.identity) is None


def test_the_run_that_was_there_first_stays(tmp_path: Path):
    first = write(tmp_path)
    before = (first.path / "run.json").read_bytes()
    write(tmp_path, provenance={"dataset": "other"})
    assert (first.path / "run.json").read_bytes() == before
    assert os.listdir(tmp_path) == [first.path.name]


def test_a_missing_run_lists_those_beside_it(tmp_path: Path):
    run = write(tmp_path)
    with pytest.raises(NotFoundError, match=rf"nope.*{run.path.name}"):
        load_run(tmp_path / "nope")


@pytest.mark.parametrize(
    "name", ["head.safetensors", "head.json", "metrics.json", "predictions.parquet"]
)
def test_a_changed_or_missing_file_is_named(tmp_path: Path, name: str):
    path = write(tmp_path).path
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(RunDamagedError, match=name):
        load_run(path)
    (path / name).unlink()
    with pytest.raises(RunDamagedError, match=name):
        load_run(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"files": {"../x": "y"}}', "\x00"])
def test_a_mangled_run_file_is_one_sentence(tmp_path: Path, text: str):
    path = write(tmp_path).path
    (path / "run.json").write_text(text)
    with pytest.raises(RunDamagedError, match=str(path)):
        load_run(path)


def test_another_spec_is_refused_by_field(tmp_path: Path):
    run = write(tmp_path)
    run.check_spec({"backbone": "pixels", "weights": "x"})
    with pytest.raises(SpecMismatchError, match="weights  stored x, wanted y"):
        run.check_spec({"backbone": "pixels", "weights": "y"})


def test_figures_that_are_not_finite_leave_no_run(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, metrics={"test": float("nan")})
    assert os.listdir(tmp_path) == []


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_run import ASKED, write
print("begin", flush=True)
for version in range(1000):
    write(Path(sys.argv[1]), asked=ASKED | {"version": version})
"""


def test_a_killed_writer_leaves_whole_runs_only(tmp_path: Path):
    rng = random.Random(0)
    here = str(Path(__file__).parent)
    kills = 0
    while kills < 5 or len(list_runs(tmp_path)) <= 5:
        kills += 1
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), here],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as lines:
            assert lines.readline() == "begin\n"
        time.sleep(rng.uniform(0.05, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in list_runs(tmp_path):
            load_run(path)
    leftovers = [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]
    for name in leftovers:
        os.utime(tmp_path / name, (0, 0))
    write(tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".tmp-")]


def test_many_writers_of_one_run_agree(tmp_path: Path):
    program = WRITER.replace("range(1000)", "range(20)")
    here = str(Path(__file__).parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), here],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for writer in writers:
        _, errors = writer.communicate()
        assert (writer.returncode, errors) == (0, "")
    assert len(os.listdir(tmp_path)) == 20
