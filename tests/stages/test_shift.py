import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_pipeline.cli.app import run_command
from tl_pipeline.errors import NotFoundError, RequestError
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.shift import measure_shift
from tl_pipeline.stages.train import train

NAMES = np.array(["ant", "bee", "cat"])
SOURCE = [0.5, 0.3, 0.2]
TARGET = [0.1, 0.2, 0.7]


def draw(n: int, priors: list[float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = rng.choice(3, n, p=priors)
    return rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[classes], classes


def import_rows(
    root: Path, name: str, rows: np.ndarray, first: int, **columns: np.ndarray
) -> str:
    """Imports a dataset of contents `first`, `first + 1`, ... into the one store."""
    path = root / f"{name}.npz"
    digests = np.array([f"{first + row:064x}" for row in range(len(rows))])
    np.savez(path, pool=rows, content_digest=digests, id=digests, **columns)
    root = root / "stores"
    return import_features(
        [path], backbone="x", weights="w", dataset=name, store_root=root
    ).store


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run on a dataset, in whose store there are others."""
    root = tmp_path_factory.mktemp("shift")
    rows, classes = draw(1500, SOURCE, 0)
    store = import_rows(root, "own", rows, 0, target=NAMES[classes])
    rows, classes = draw(800, SOURCE, 1)
    import_rows(root, "alike", rows, 10_000, target=NAMES[classes])
    import_rows(root, "unlabeled", rows, 10_000)
    distorted = rows * [0.2, 5.0, 1.0] + [4.0, -6.0, 1.0]
    import_rows(root, "distorted", distorted, 20_000, target=NAMES[classes])
    rows, classes = draw(1500, TARGET, 2)
    import_rows(root, "cats", rows, 30_000, target=NAMES[classes])
    import_rows(root, "few", rows[:10], 40_000, target=np.repeat("dog", 10))
    # The first 400 of the own dataset.
    rows, classes = draw(1500, SOURCE, 0)
    import_rows(root, "overlapping", rows[:400], 0, target=NAMES[classes[:400]])
    return train(
        store, run_root=root / "runs", dataset="own", features=["pool"], l2=[0.01]
    ).run


def accuracy(found: dict[str, Any], method: str) -> float:
    return found["scores"][method]["accuracy"]["value"]


def test_of_one_domain_nothing_differs_and_nothing_is_lost(run: str):
    found: dict[str, Any] = measure_shift(run, "alike")
    assert not found["test"]["differ"] and found["test"]["n"] == 800
    assert "are not seen to differ" in found["sentence"]
    for shares, wanted in zip(found["priors"].values(), SOURCE, strict=True):
        assert shares["em"] == pytest.approx(wanted, abs=0.06)
    for method in ("em", "bbse", "aligned"):
        assert accuracy(found, method) == pytest.approx(
            accuracy(found, "plain"), abs=0.02
        )


def test_a_label_shift_is_estimated_without_labels_and_corrected(run: str):
    found: dict[str, Any] = measure_shift(run, "cats")
    assert found["test"]["differ"]
    for shares, wanted in zip(found["priors"].values(), TARGET, strict=True):
        assert shares["em"] == pytest.approx(wanted, abs=0.06)
        assert shares["bbse"] == pytest.approx(wanted, abs=0.1)
        assert shares["labeled"] == pytest.approx(wanted, abs=0.03)
    assert found["scores"]["em"]["gain"]["low"] > 0.02
    assert found["scores"]["bbse"]["gain"]["low"] > 0.02


def test_a_distortion_is_undone_by_alignment(run: str):
    found: dict[str, Any] = measure_shift(run, "distorted")
    assert found["test"]["accuracy"]["low"] > 0.9
    assert found["scores"]["aligned"]["gain"]["low"] > 0.1
    alike: dict[str, Any] = measure_shift(run, "alike")
    assert accuracy(found, "aligned") == pytest.approx(
        accuracy(alike, "plain"), abs=0.03
    )
    assert accuracy(found, "plain") < accuracy(alike, "plain") - 0.1


def test_target_labels_are_for_scores_alone(run: str):
    labeled: dict[str, Any] = measure_shift(run, "alike")
    found: dict[str, Any] = measure_shift(run, "unlabeled")
    assert found["scores"] == {} and found["counts"]["labeled"] == 0
    for name, shares in found["priors"].items():
        assert shares.items() <= labeled["priors"][name].items()
    assert found["test"] == labeled["test"]


def test_what_the_head_saw_is_neither_tested_nor_scored(run: str):
    found: dict[str, Any] = measure_shift(run, "overlapping")
    assert found["test"] is None
    assert "400 examples in both, left out of the test" in found["notes"]
    # About 15 of 100 are the test split, on which the head was not fitted or chosen.
    assert 30 < found["scores"]["plain"]["n"] < 100


def test_classes_that_the_head_does_not_know_it_gets_wrong(run: str):
    found: dict[str, Any] = measure_shift(run, "few")
    assert accuracy(found, "plain") == 0
    assert "10 examples of classes that the head does not know" in found["notes"]
    assert found["test"] is None and "Too few" in found["sentence"]


def test_the_command_reports_for_people_and_as_json(
    run: str, capsys: pytest.CaptureFixture[str]
):
    assert run_command(["shift", run, "--dataset", "cats"]) == 0
    page = capsys.readouterr().out
    assert "fitted again on aligned rows (CORAL)" in page and "ant" in page
    assert run_command(["shift", run, "--dataset", "cats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == measure_shift(run, "cats")


def test_a_dataset_that_is_not_there_and_a_run_of_numbers_are_refused(
    run: str, tmp_path: Path
):
    with pytest.raises(NotFoundError, match="nowhere"):
        measure_shift(run, "nowhere")
    rows, _ = draw(200, SOURCE, 0)
    numbers = np.array([f"{number:.3f}" for number in rows[:, 0]])
    store = import_rows(tmp_path, "numbers", rows, 0, target=numbers)
    trained = train(store, run_root=tmp_path / "runs", kinds=["ridge"], l2=[0.1])
    with pytest.raises(RequestError, match="for classes alone"):
        measure_shift(trained.run, "numbers")
