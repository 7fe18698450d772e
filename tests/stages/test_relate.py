"""Which tasks help which, on planted ones."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.cli import main
from tl_pipeline.errors import RequestError
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.relate import relate_tasks
from tl_pipeline.store.store import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("relate")
    rng = np.random.default_rng(0)
    n = 600
    rows = rng.normal(size=(n, 6)).astype(np.float32)
    right, up = rows[:, 0] > 0, rows[:, 1] > 0
    columns = {
        "half": np.where(right, "r", "l"),
        "level": np.array([f"{value + 0.01:.4f}" for value in rows[:, 1]]),
        "other": np.where(rows[:, 5] > 0, "x", "y"),
        "quarter": np.array(list("abcd"))[2 * right + up],
    }
    ids = np.array([f"{row:04}" for row in range(n)])
    np.savez(root / "f.npz", pool=rows, id=ids, target=columns["quarter"])
    made = {"backbone": "some net", "weights": "theirs", "dataset": "planted"}
    found = import_features([root / "f.npz"], store_root=root / "stores", **made).store
    opened = open_store(found)
    examples = opened.snapshot()
    order = [int(id) for id in examples.ids]
    kept = {name: tuple(texts[order].tolist()) for name, texts in columns.items()}
    with opened.lock():
        opened.commit_snapshot(dataclasses.replace(examples, columns=kept))
    return found


TASKS = ["quarter", "half", "level", "other"]


def test_a_task_helps_those_that_it_knows_and_no_other(store: str, tmp_path: Path):
    found = relate_tasks(store, TASKS, picture=tmp_path / "m.svg")
    matrix = np.array(found["matrix"])
    assert found["kinds"] == ["multiclass", "binary", "regression", "binary"]
    assert (np.diag(matrix) > 0.5).all()
    # The quarter tells the half, the half tells but part of the quarter.
    assert matrix[0, 1] > 0.5 and 0.2 < matrix[1, 0] < 0.6
    assert matrix[0, 2] > 0.4 and matrix[2, 1] < 0.1
    assert (np.abs(matrix[3, :3]) < 0.1).all() and (np.abs(matrix[:3, 3]) < 0.1).all()
    drawn = (tmp_path / "m.svg").read_bytes()
    relate_tasks(store, TASKS, picture=tmp_path / "n.svg")
    assert b"quarter" in drawn and (tmp_path / "n.svg").read_bytes() == drawn


def test_tasks_of_two_datasets_are_related_by_rows_of_one_store(store: str):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(600, 6)).astype(np.float32)
    tilted = np.where(rows[:, 0] + 0.2 * rows[:, 2] > 0, "+", "-")
    ids = np.array([f"{row:04}" for row in range(600)])
    folder = Path(store).parent.parent
    np.savez(folder / "g.npz", pool=rows, id=ids, target=tilted)
    made = {"backbone": "some net", "weights": "theirs", "dataset": "tilted"}
    again = import_features([folder / "g.npz"], store_root=folder / "stores", **made)
    assert again.store == store
    asked = ["quarter", "other", "tilted:target"]
    found = relate_tasks(store, asked, dataset="planted")
    matrix = np.array(found["matrix"])
    assert found["dataset"] == "planted and tilted"
    assert 600 < int(str(found["examples"])) <= 1200
    assert matrix[0, 2] > 0.4  # who knows the quarter knows most of the tilted half
    assert matrix[2, 0] > 0.15
    assert abs(matrix[1, 2]) < 0.1 and abs(matrix[2, 1]) < 0.1
    alone = np.array(relate_tasks(store, asked[:2], dataset="planted")["matrix"])
    assert np.abs(matrix[:2, :2] - alone).max() < 0.1


def test_the_command_prints_the_matrix(store: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        words = ["--dataset", "planted", "--target-column", "half", "other"]
        main(["relate", store, *words, "--json"])
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["tasks"] == ["half", "other"]
    assert "answers to" in told.err
    with pytest.raises(RequestError, match="relate half: name two"):
        relate_tasks(store, ["half"])
    with pytest.raises(RequestError, match="column 'lens'"):
        relate_tasks(store, ["half", "lens"], dataset="planted")
