"""Fine-tuning from a run on real digits: its rules, what it leaves, what it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tl_pipeline.backbones.digits_cnn import BUNDLED
from tl_pipeline.config import make_config
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import BackboneError, ConfigError, DatasetError, RequestError
from tl_pipeline.runs.run import load_run
from tl_pipeline.stages.backbones import load_backbone, load_trainable
from tl_pipeline.stages.compare_runs import compare_runs
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.finetune import finetune
from tl_pipeline.stages.pipeline import run_local
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.promote import promote
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import open_store

SOURCE = "builtin:digits-shifted"
# A step or two an epoch: rules hold from the first update on.
QUICK = {"epochs": 2, "batch_size": 311, "augment": "none"}


def begin(root: Path, name: str, weights: str, *, settings=None, **heads) -> str:
    """Extracts the digits in float32 and trains heads on them; returns the run."""
    extracted = extract(
        load_dataset(SOURCE),
        load_backbone(name, weights=weights, settings=settings),
        features=["pool"],
        store_root=root / "stores",
        store_dtype="float32",
    )
    return train(extracted.store, run_root=root / "runs", **heads).run


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("digits")
    return begin(root, "digits_cnn", "pretrained", l2=[0.003])


def weights_of(run: str) -> dict[str, np.ndarray]:
    return load_file(str(load_run(run).provenance["weights"]))


@pytest.mark.slow
def test_a_residual_network_keeps_what_is_frozen_and_its_statistics(tmp_path: Path):
    small = {"input_size": 32}
    run = begin(tmp_path, "resnet18", "random:0", settings=small, l2=[0.1])
    report = finetune(run, unfreeze=["stage4"], weight_decay=0.5, **QUICK)
    assert report.rows[1]["best_epoch"], "nothing moved, and so nothing is shown"
    after = weights_of(str(report.rows[1]["run"]))
    network = load_trainable("resnet18", weights="random:0", settings=small)
    trained = set(network.blocks(["pool"])["stage4"]) - network.statistics
    assert after.keys() == network.parameters.keys()
    for name, array in network.parameters.items():
        assert (after[name].tobytes() == array.tobytes()) == (name not in trained)


@pytest.fixture(scope="module")
def tuned(digits_run: str):
    return finetune(
        digits_run,
        ways=["end-to-end", "split"],
        unfreeze=["stage2"],
        learning_rate=1e-3,
        **QUICK | {"epochs": 6, "batch_size": 64},
    )


def test_it_starts_from_the_head_of_the_run(digits_run: str, tuned):
    start = load_run(digits_run)
    whole = load_run(tuned.rows[1]["run"])
    val = [row == "val" for row in start.predictions().splits]
    kept = start.predictions()
    truth = kept.outputs[val][np.arange(sum(val)), kept.targets[val]]
    first = whole.metrics["finetune"]["epochs"][0]
    assert first["epoch"] == 0
    assert first["val_loss"] == pytest.approx(-np.log(truth).mean(), rel=1e-4)
    assert whole.metrics["finetune"]["epochs"][-1]["val_loss"] < first["val_loss"]


def test_split_is_end_to_end_with_the_front_frozen(tuned):
    whole, split = (weights_of(row["run"]) for row in tuned.rows[1:])
    assert whole.keys() == split.keys()
    moved = load_file(BUNDLED)
    for name, array in whole.items():
        # The largest difference is 2e-6 of the way that the weights went.
        way = np.abs(array - moved[name]).max()
        assert np.abs(array - split[name]).max() <= 1e-3 * way + 1e-7, name
        assert (way == 0) == name.startswith("stages.0."), name
    assert any(np.abs(whole[name] - moved[name]).max() > 1e-3 for name in whole)


def test_a_tuned_backbone_is_a_backbone_with_a_store_of_its_own(
    digits_run: str, tuned, tmp_path: Path
):
    row = tuned.rows[1]
    run, start = load_run(row["run"]), load_run(digits_run)
    assert run.provenance["store"] != start.provenance["store"]
    again = extract(
        load_dataset(SOURCE),
        load_backbone("digits_cnn", weights=run.provenance["weights"]),
        features=["pool"],
        store_root=Path(str(run.provenance["store"])).parent,
        store_dtype="float32",
    )
    assert again.store == run.provenance["store"]
    assert again.rows_computed == 0
    assert again.weights_origin["source_dataset"].endswith("then digits-shifted")
    with safe_open(str(run.provenance["weights"]), framework="numpy") as file:
        assert file.metadata()["settings"] == "{}"
    kept = open_store(again.store).read("pool", split="test")
    live = run.head_arrays()
    assert live["kernel"].shape[0] == kept.features.shape[1]


def test_predict_compare_and_the_gate_take_a_tuned_run(digits_run: str, tuned):
    row = tuned.rows[1]
    run = load_run(row["run"])
    said = {one.id: one.label for one in predict(run.path, SOURCE)}
    for id, guess in run.guesses().items():
        assert said[id] == guess.label
    compared = compare_runs(digits_run, run.path)
    headline = compared["metrics"][0]  # type: ignore[index]
    gain = 100 * headline["difference"]["value"]  # type: ignore[index,call-overload]
    assert row["against"]["gain"] == pytest.approx(gain)
    assert row["against"]["p_value"] == pytest.approx(headline["p_value"])  # type: ignore[index,call-overload]
    first = promote(digits_run, load_run(digits_run).provenance["store"])
    second = promote(run.path, run.provenance["store"])
    assert (first.reason, second.n) == ("first", row["against"]["n"])
    page = run.report.read_text()
    assert "Fine-tuning" in page and "best epoch on val" in page
    for path in (digits_run, *(one["run"] for one in tuned.rows[1:])):
        page = load_run(path).report.read_text()
        assert f"{tuned.sentence}" in page
        assert all(f"<td>{one['way']}</td>" in page for one in tuned.rows)


def test_asked_again_it_finds_its_runs_and_trains_nothing(digits_run: str, tuned):
    again = finetune(
        digits_run,
        ways=["end-to-end", "split"],
        unfreeze=["stage2"],
        learning_rate=1e-3,
        **QUICK | {"epochs": 6, "batch_size": 64},
    )
    assert [row["reused"] for row in again.rows] == [True] * 3
    assert [row["run"] for row in again.rows] == [row["run"] for row in tuned.rows]
    assert not list(Path(digits_run).parent.glob(".checkpoints-*"))


def test_split_draws_from_views_that_are_cached_at_the_cut(digits_run: str, tuned):
    viewed = finetune(
        digits_run,
        ways=["split"],
        unfreeze=["stage2"],
        learning_rate=1e-3,
        views=2,
        augment_settings={"horizontal_flip": 0.0, "rotation": 5.0},
        **QUICK | {"epochs": 6, "batch_size": 64, "augment": "light"},
    )
    store = open_store(str(load_run(digits_run).provenance["store"]))
    shards = [one for one in store.manifest.shards if "stage1" in one.features]
    assert sorted(one.view for one in shards) == [0, 1, 2]
    assert all('"rotation":5.0' in one.recipe for one in shards if one.view)
    pairs = [
        load_run(run).metrics["finetune"]["epochs"]
        for run in (tuned.rows[2]["run"], viewed.rows[1]["run"])
    ]
    (plain, first), (same, other) = (epochs[:2] for epochs in pairs)
    assert plain == same and first["train_loss"] != other["train_loss"]
    # They are views of the cut alone, and nothing that heads would look for.
    trained = train(store.path, run_root=Path(digits_run).parent, l2=[0.01])
    assert not any("views" in candidate for candidate in trained.candidates)


def test_heads_on_cached_views_are_a_way_of_their_own(digits_run: str):
    start = load_run(digits_run)
    turned = {"horizontal_flip": 0.0, "rotation": 5.0}
    asked: Any = {"ways": ["views"], "views": 3, "augment_settings": turned}
    report = finetune(digits_run, **asked)
    head, row = report.rows
    assert (row["way"], row["reused"], row["memory"]) == ("views", False, None)
    run = load_run(row["run"])
    assert run.provenance["store"] == start.provenance["store"]
    assert run.asked["features"] == ["pool"]
    assert [one["views"] for one in run.metrics["candidates"]] == [3]
    assert run.metrics["chosen"]["settings"]["l2"] == 0.003
    # Of the views that are cached it is the choice, on the same examples of test.
    assert row["against"]["n"] == start.metrics["counts"]["test"]
    gained = 100 * (row["value"] - head["value"])
    assert row["against"]["gain"] == pytest.approx(gained, abs=1e-6)
    is_better = row["against"]["p_value"] <= 0.05 and gained > 0
    assert report.better == is_better
    assert report.run == (row["run"] if is_better else digits_run)
    assert "the head trained on cached views" in report.sentence
    assert row["seconds"] > 0
    store = open_store(run.provenance["store"])
    n_shards = len(store.manifest.shards)
    again = finetune(digits_run, **asked)
    assert again.rows[1]["reused"] and again.rows[1]["run"] == row["run"]
    assert len(open_store(store.path).manifest.shards) == n_shards
    with pytest.raises(ConfigError, match="8 views by the augmentation 'none'"):
        finetune(digits_run, ways=["views"], augment="none")


def test_a_head_that_is_not_linear_is_refused_unless_asked_to_begin_anew(
    tmp_path: Path,
):
    run = begin(tmp_path, "digits_cnn", "pretrained", kinds=["knn"], k=[5])
    with pytest.raises(RequestError, match="kind knn.*from_scratch_head"):
        finetune(run, **QUICK)
    report = finetune(run, from_scratch_head=True, **QUICK | {"epochs": 1})
    epochs = load_run(report.rows[1]["run"]).metrics["finetune"]["epochs"]
    assert epochs[0]["val_loss"] == pytest.approx(np.log(5), rel=1e-5)


def test_what_cannot_be_asked_is_refused_in_a_sentence(digits_run: str, tmp_path: Path):
    with pytest.raises(ConfigError, match="blocks with parameters are stage1, stage2"):
        finetune(digits_run, unfreeze=["stage3"])
    with pytest.raises(ConfigError, match="no block frozen"):
        finetune(digits_run, ways=["split"])
    with pytest.raises(ConfigError, match="stage1 would begin after 2 epochs"):
        finetune(digits_run, unfreeze_every=2, **QUICK)
    with pytest.raises(DatasetError, match="it lacks 896 of the 896 examples"):
        finetune(digits_run, data="builtin:digits")


def test_a_pipeline_promotes_a_tuned_run_only_where_it_is_better(tmp_path: Path):
    config = make_config(
        {
            "data": {"source": SOURCE},
            "backbone": {"name": "digits_cnn"},
            "store": {"root": str(tmp_path / "stores")},
            "run": {"root": str(tmp_path / "runs")},
            "baselines": {"names": []},
            "heads": {"l2": [0.003]},
            "finetune": {"enabled": True, "unfreeze": [], **QUICK},
        },
        where="here",
    )
    summary: Any = run_local(config)
    tuned, trained = summary["finetune"], summary["train"]
    assert not tuned["better"]
    assert tuned["run"] == trained["run"] == summary["promotion"]["current"]
    assert load_run(tuned["rows"][1]["run"]).metrics["finetune"]["blocks"] == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"backbone": {"name": "pixels"}}, BackboneError, "pixels: it has no param"),
        ({"heads": {"kinds": ["knn", "mlp"]}}, RequestError, "of kind knn or mlp: onl"),
    ],
)
def test_a_fine_tuning_that_could_not_begin_is_refused_before_anything_is_done(
    changes: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
):
    values: dict[str, dict[str, Any]] = {
        "data": {"source": SOURCE},
        "backbone": {"name": "digits_cnn"},
        "store": {"root": str(tmp_path / "stores")},
        "finetune": {"enabled": True},
    }
    with pytest.raises(error, match=words):
        run_local(make_config(values | changes, where="here"))
    assert not (tmp_path / "stores").exists()


def test_augmented_training_with_every_setting_runs_and_reports(digits_run: str):
    report = finetune(
        digits_run,
        augment_settings={"mixup": 0.2, "horizontal_flip": 0.5},
        label_smoothing=0.1,
        head_dropout=0.2,
        gradient_accumulation=2,
        compute_dtype="bfloat16",
        remat=True,
        **QUICK | {"epochs": 1},
    )
    found = load_run(report.rows[1]["run"]).metrics["finetune"]
    assert found["steps"] == 2 and len(found["epochs"]) == 2
    assert not report.better and report.run == digits_run
    assert report.sentence.startswith("Keep the cached head")
