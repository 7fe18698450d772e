"""Heads of dense layers in a training: swept, chosen, saved and used like others."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.cli import main
from tl_pipeline.errors import TrainingError
from tl_pipeline.heads.fitting import fit_heads
from tl_pipeline.heads.head import Head
from tl_pipeline.reporting.summary import describe_train
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.import_features import import_features
from tl_pipeline.stages.train import train
from tl_pipeline.tasks import Task

PAIR = Task("binary", ("no", "yes"))


def corners(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Exclusive or: no line separates it."""
    features = np.random.default_rng(n).uniform(-1, 1, (n, 2)).astype(np.float32)
    return features, (features[:, 0] * features[:, 1] > 0).astype(np.int64)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("mlp")
    features, targets = corners(500)
    ids = np.array([f"{row:03}" for row in range(500)])
    np.savez(root / "corners.npz", pool=features, target=targets, id=ids)
    made = {"backbone": "some net", "weights": "theirs", "dataset": "corners"}
    report = import_features([root / "corners.npz"], store_root=root / "stores", **made)
    return report.store


def test_mlp_is_chosen_where_no_line_separates_and_the_run_gives_its_answers(
    store: str, tmp_path: Path
):
    asked = {"kinds": ["linear", "mlp"], "l2": [0.1], "learning_rate": [0.03]}
    report = train(store, run_root=tmp_path / "one", **asked)
    assert report.chosen["kind"] == "mlp"
    assert report.test["accuracy"]["value"] > 0.9
    # Two dropouts, two decays and three seeds beside the linear head.
    assert len(report.candidates) == report.heads_trained == 1 + 2 * 2 * 3
    assert all(one["converged"] for one in report.candidates)
    run = load_run(report.run)
    head = Head.from_arrays(run.head, run.head_arrays())
    assert head.settings["learning_rate"] == 0.03
    unseen, truth = corners(1000)
    assert np.mean(head.predict(unseen).argmax(axis=1) == truth) > 0.9
    again = train(store, run_root=tmp_path / "two", **asked)
    for name in ("head.safetensors", "metrics.json"):
        one, two = (Path(found.run) / name for found in (report, again))
        assert one.read_bytes() == two.read_bytes()


def test_the_spread_over_seeds_is_of_the_chosen_setting_alone(
    store: str, tmp_path: Path
):
    asked = {"learning_rate": [0.03, 1e-4], "dropout": [0.0], "weight_decay": [0.0]}
    report = train(store, run_root=tmp_path, kinds=["linear", "mlp"], **asked)
    kept = [
        one
        for one in report.candidates
        if one["kind"] == "mlp" and one["learning_rate"] == 0.03
    ]
    accuracies = [one["accuracy"] for one in kept]
    assert report.seeds is not None and report.seeds["n"] == len(kept) == 3
    assert report.seeds["val"]["mean"] == pytest.approx(np.mean(accuracies))
    assert report.seeds["val"]["spread"] == pytest.approx(np.std(accuracies))
    chosen = report.test["accuracy"]["value"]
    assert abs(report.seeds["test"]["mean"] - chosen) < 0.2
    told = describe_train(report.to_json())
    assert any("Over the 3 seeds of its setting: test accuracy" in x for x in told)
    assert "Over the 3 seeds" in Path(report.report).read_text()
    linear = train(store, run_root=tmp_path, kinds=["linear"], l2=[0.1])
    assert linear.seeds is None


def test_the_command_line_trains_mlp_heads_with_the_defaults(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["train", "--store", store, "--run-root", str(tmp_path), "--heads", "mlp"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    assert ended.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["chosen"]["kind"] == "mlp" and report["heads_trained"] == 12
    assert "Mlp on pool" in Path(report["report"]).read_text()


def test_a_head_that_fails_keeps_its_place_and_says_so():
    features, targets = corners(100)
    rates = [1e30, 0.1]
    settings = [{"hidden": (4,), "epochs": 2, "learning_rate": rate} for rate in rates]
    settings = [one | {"optimizer": "sgd"} for one in settings]
    weight = np.ones((2, 100))
    found = fit_heads(
        "mlp", features, targets, task=PAIR, settings=settings, weight=weight
    )
    assert [head.converged for head in found] == [False, True]
    for head in found:
        assert all(np.isfinite(array).all() for array in head.arrays.values())
        assert head.arrays["kernel_1"].shape == (4, 1)
    with pytest.raises(TrainingError, match="non-finite numbers for each"):
        fit_heads(
            "mlp",
            features,
            targets,
            task=PAIR,
            settings=settings[:1] * 2,
            weight=weight,
        )


def test_asking_for_settings_loads_no_jax():
    program = (
        "import sys\n"
        "from tl_pipeline.config import make_heads_config\n"
        "from tl_pipeline.stages.settings import make_settings\n"
        "import tl_pipeline.stages.train\n"
        "make_settings('mlp', make_heads_config({}))\n"
        "assert 'jax' not in sys.modules and 'optax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
