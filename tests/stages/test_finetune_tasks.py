"""Fine-tuning for labels and for numbers, on pictures of real digits."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import ConfigError
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.finetune import finetune
from tl_pipeline.stages.train import train

N = 600
QUICK = {
    "epochs": 4,
    "batch_size": 64,
    "augment": "none",
    "learning_rate": 2e-3,
    "head_learning_rate": 2e-3,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of digits: the number, its half where known, and two labels of it."""
    folder = tmp_path_factory.mktemp("digits")
    dataset = load_dataset("builtin:digits")
    rows = []
    for i, item in enumerate(dataset.items[::2][:N]):
        pixels = np.load(io.BytesIO(dataset.read(item)))
        picture = Image.fromarray(pixels).resize((16, 16))
        picture.save(folder / f"{i:03}.png")
        digit = int(str(item.target))
        half = "" if i % 5 == 0 else str(100 + digit / 2)
        even = "" if i % 7 == 0 else str(int(digit % 2 == 0))
        rows.append([f"{i:03}.png", digit, half, even, int(digit in (0, 6, 8, 9))])
    with (folder / "t.csv").open("w", newline="") as file:
        names = ["path", "digit", "half", "even", "loop"]
        csv.writer(file).writerows([names, *rows])
    return folder / "t.csv"


def begin(table: Path, root: Path, target: list[str], task: str) -> str:
    extracted = extract(
        load_dataset(str(table), targets=target),
        load_backbone("digits_cnn"),
        features=["pool"],
        store_root=root / "stores",
        store_dtype="float32",
    )
    return train(
        extracted.store, run_root=root / "runs", l2=[0.01], task=task, target=target
    ).run


def known_val(run: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns known targets on val and what the head says there, and which column."""
    said = load_run(run).predictions()
    val = np.array(said.splits) == "val"
    known = np.isfinite(said.targets[val])
    return said.targets[val][known], said.outputs[val][known], np.nonzero(known)[1]


def test_numbers_are_trained_in_units_of_their_deviation(table: Path, tmp_path: Path):
    run = begin(table, tmp_path, ["digit", "half"], "regression")
    report = finetune(run, unfreeze=["stage2"], **QUICK)
    assert [row["metric"] for row in report.rows] == ["R²", "R²"]
    tuned = load_run(report.rows[1]["run"])
    found = tuned.metrics["finetune"]
    assert found["against"]["points"] == "points of R²"
    truth, said, _ = known_val(run)
    first, *_, last = (epoch["val_loss"] for epoch in found["epochs"])
    # `half` is a half of `digit`: their deviations are 2 to 1, nearly.
    assert 0.8 < first / np.square((truth - said) / 2.9).mean() < 4
    assert last < 0.9 * first
    # The head that was saved gives numbers in their own units again.
    after = tuned.predictions()
    assert np.abs(np.nanmean(after.targets - after.outputs, axis=0)).max() < 0.5
    assert (
        tuned.metrics["test"]["r2"]["value"]
        > load_run(run).metrics["test"]["r2"]["value"]
    )
    with pytest.raises(ConfigError, match="label_smoothing = 0.1 on numbers"):
        finetune(run, label_smoothing=0.1, **QUICK)


def test_labels_are_trained_each_by_its_cross_entropy(table: Path, tmp_path: Path):
    run = begin(table, tmp_path, ["even", "loop"], "multilabel")
    report = finetune(run, unfreeze=["stage2"], label_smoothing=0.05, **QUICK)
    assert [row["metric"] for row in report.rows] == ["accuracy of labels"] * 2
    tuned = load_run(report.rows[1]["run"])
    epochs = tuned.metrics["finetune"]["epochs"]
    truth, said, _ = known_val(run)
    wanted = -np.log(np.where(truth == 1, said, 1 - said)).mean()
    assert epochs[0]["val_loss"] == pytest.approx(wanted, rel=1e-4)
    assert epochs[-1]["val_loss"] < 0.9 * wanted
    assert report.rows[1]["value"] > report.rows[0]["value"]
    page = tuned.report.read_text()
    assert "points of label accuracy" in page
