"""Robustness of a head on real digits: scores of corrupted test examples."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.cli.app import run_command
from tl_pipeline.data.corruptions import corrupt
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import ConfigError, DatasetError
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.robustness import measure_robustness
from tl_pipeline.stages.train import train


def make_run(data: str | Path, root: Path, backbone: str) -> str:
    extracted = extract(
        load_dataset(data),
        load_backbone(backbone),
        features=["pool"],
        store_root=root / "stores",
    )
    return train(extracted.store, run_root=root / "runs", l2=[0.003]).run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("robustness")
    run = make_run("builtin:digits-shifted", root, "digits_cnn")
    shutil.copy(load_run(run).report, root / "first.html")
    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of the digits 3 and 8 as PNG files of 32 × 32 pixels."""
    root = tmp_path_factory.mktemp("photos") / "photos"
    dataset = load_dataset("builtin:digits")
    for item in dataset.items:
        if item.target in ("3", "8"):
            pixels = np.load(io.BytesIO(dataset.read(item)))
            path = root / item.target / f"{item.id.split('/')[-1]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((32, 32)).convert("RGB").save(path)
    return root


def test_uncorrupted_the_head_scores_as_in_its_run(run):
    found = measure_robustness(run, corruptions=["blur"], severities=[1])
    wanted = load_run(run).metrics["test"]["accuracy"]["value"]
    assert found["clean"]["value"] == pytest.approx(wanted)
    assert found["n"] == load_run(run).metrics["counts"]["test"]
    assert not found["notes"]


def test_scores_are_those_of_predicting_the_corrupted_files(photos, tmp_path):
    run = make_run(photos, tmp_path, "pixels")
    found = measure_robustness(
        run, corruptions=["contrast", "noise"], severities=[2, 5]
    )
    predictions = load_run(run).predictions()
    tests = [row for row, split in enumerate(predictions.splits) if split == "test"]
    for name, severity in (("contrast", 5), ("noise", 5)):
        folder = tmp_path / f"{name}{severity}"
        for row in tests:  # of the size that the backbone takes
            id, content = predictions.ids[row], predictions.content[row].tobytes()
            made = corrupt(
                np.array(Image.open(photos / id)), name, severity, content=content
            )
            (folder / id).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(made).save(folder / id)
        guesses = {one.id: one.label for one in predict(run, folder)}
        right = [
            guesses[predictions.ids[row]] == ("3", "8")[predictions.targets[row]]
            for row in tests
        ]
        assert 0.3 < np.mean(right) < 1
        figure = found["corruptions"][name][str(severity)]
        assert figure["value"] == pytest.approx(np.mean(right))


def test_strong_noise_costs_points_and_the_figures_hold_together(run):
    found = measure_robustness(run, corruptions=["noise", "jpeg"], severities=[5, 1])
    by_name = found["corruptions"]
    assert list(by_name) == ["noise", "jpeg"]
    assert list(by_name["noise"]) == ["1", "5"]
    noise = [by_name["noise"][key]["value"] for key in ("1", "5")]
    assert noise[1] < noise[0] <= found["clean"]["value"]
    assert found["means"]["noise"]["value"] == pytest.approx(np.mean(noise))
    means = [mean["value"] for mean in found["means"].values()]
    assert found["mean"]["value"] == pytest.approx(np.mean(means))
    lost = found["clean"]["value"] - found["mean"]["value"]
    assert found["loss"]["value"] == pytest.approx(lost) and lost > 0.01
    for figure in (found["clean"], found["loss"], *by_name["noise"].values()):
        assert figure["low"] < figure["value"] < figure["high"]
    again = measure_robustness(run, corruptions=["noise", "jpeg"], severities=[1, 5])
    assert found == again


def test_what_is_gone_or_changed_is_left_out_and_counted(photos, tmp_path):
    run = make_run(photos, tmp_path, "pixels")
    predictions = load_run(run).predictions()
    tests = [
        i
        for i, s in zip(predictions.ids, predictions.splits, strict=True)
        if s == "test"
    ]
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    (moved / tests[0]).unlink()
    Image.new("RGB", (16, 16)).save(moved / tests[1])
    found = measure_robustness(run, corruptions=["blur"], severities=[1], data=moved)
    assert found["n"] == len(tests) - 2
    assert (
        f"{len(tests) - 2} of the run's {len(tests)} test examples" in found["notes"][0]
    )
    for id in tests[2:]:
        (moved / id).unlink()
    with pytest.raises(DatasetError, match="Say where they are with --data"):
        measure_robustness(run, corruptions=["blur"], severities=[1], data=moved)


def test_no_corruption_and_unknown_ones_are_refused(run):
    with pytest.raises(ConfigError, match="robustness to no corruption"):
        measure_robustness(run, corruptions=[])
    with pytest.raises(ConfigError, match="known are noise"):
        measure_robustness(run, corruptions=["fog"])


def test_the_page_of_the_run_shows_the_last_that_was_measured_and_is_else_the_same(
    run,
):
    before = load_run(run)
    for corruption in ("noise", "blur"):
        measure_robustness(run, corruptions=[corruption], severities=[2])
    after = load_run(run)
    assert (after.identity, after.metrics) == (before.identity, before.metrics)
    parts = re.split(
        r"(<section>\s*<h2>Robustness.*?</section>\n)",
        after.report.read_text(),
        flags=re.S,
    )
    assert len(parts) == 3
    assert "blur" in parts[1] and "severity 2" in parts[1] and "noise" not in parts[1]
    first = Path(run).parents[1] / "first.html"
    assert parts[0] + parts[2] == first.read_text()


def test_of_a_run_that_cannot_be_written_the_figures_are_told_all_the_same(
    photos, tmp_path
):
    run = make_run(photos, tmp_path, "pixels")
    (Path(run) / ".since.lock").mkdir()  # no lock can be taken there
    found = measure_robustness(run, corruptions=["blur"], severities=[1])
    assert found["clean"]["value"] > 0.5
    assert "the run's page does not show it" in found["notes"][0]
    assert load_run(run).since == {}


def test_the_command_prints_a_table_and_one_document(run, capsys):
    argv = [
        "robustness",
        run,
        "--corruptions",
        "blur",
        "noise",
        "--severities",
        "1",
        "3",
    ]
    assert run_command(argv) == 0
    printed = capsys.readouterr().out
    assert "Test accuracy on 149 examples as they are: 0.9" in printed
    for word in ("corrupted, on average", "severity 1", "severity 3", "mean", "blur"):
        assert word in printed
    assert run_command([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measure"] == "accuracy"
    assert f"{found['corruptions']['noise']['3']['value']:.3f} (" in printed
    assert run_command(["robustness", run, "--corruptions", "fog"]) == 2
