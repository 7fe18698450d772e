"""What the commands say: JSON alone on stdout, everything human on stderr."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tl_pipeline.cli.app import run_command
from tl_pipeline.config import make_config

Ask = Callable[..., Any]


@pytest.fixture
def extracted(ask: Ask, tmp_path: Path) -> Any:
    return ask(
        *("extract", "--data", "builtin:digits-shifted", "--backbone", "pixels"),
        *("--store-root", tmp_path / "stores", "--dataset", "shifted"),
    )


def test_the_first_help_page_shows_six_commands_to_start_with(
    capsys: pytest.CaptureFixture[str],
):
    assert run_command(["--help"]) == 0
    page = capsys.readouterr().out
    start = page[page.index("Start here") : page.index("More commands")]
    names = [line.split()[1] for line in start.splitlines() if line.startswith("│")]
    assert names == ["init", "predict", "quickstart", "run", "store", "train"]


def test_extract_reports_every_count(extracted: Any):
    assert extracted["examples"] == extracted["rows_computed"] == 896
    for key in (
        *("store", "digest", "rows_reused", "duplicates", "failures"),
        *("inputs_hashed", "inputs_opened", "parity_inputs", "seconds"),
        "seconds_saved",
    ):
        assert key in extracted


def test_train_reports_the_chosen_head_and_its_intervals(
    ask: Ask, extracted: Any, tmp_path: Path
):
    argv = ("train", "--store", extracted["store"], "--run-root", tmp_path / "runs")
    trained = ask(*argv, "--l2", "0.01", "0.1")
    assert trained["chosen"]["kind"] == "linear"
    assert trained["chosen"]["settings"]["l2"] in (0.01, 0.1)
    assert trained["heads_trained"] == 2
    for split in ("val", "test"):
        for metric in ("accuracy", "balanced_accuracy", "f1_macro", "log_loss"):
            figure = trained[split][metric]
            assert figure["low"] <= figure["value"] <= figure["high"]
    again = ask(*argv, "--l2", "0.01", "0.1")
    assert again["reused"] and again["run"] == trained["run"]


def test_any_key_of_heads_may_be_set(
    ask: Ask, extracted: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    argv = ("train", "--store", extracted["store"], "--run-root", tmp_path / "runs")
    few = ("--heads", "mlp", "--n-seeds", "1", "--set", "epochs=2")
    few += ("--set", "hidden=[4, 3]", "dropout=[0.5]", "optimizer=sgd")
    trained = ask(*argv, *few, "--set", "weight_decay=[0.0]")
    assert trained["heads_trained"] == 1
    settings = trained["chosen"]["settings"]
    assert (settings["hidden"], settings["epochs"]) == ([4, 3], 2)
    assert settings["optimizer"] == "sgd"
    for text, told in (
        ("epochs", "no key and value"),
        ("epoch=3", "heads.epoch: unknown key"),
    ):
        assert run_command([*map(str, argv), "--set", text]) == 2
        assert told in capsys.readouterr().err


def test_a_snapshot_is_chosen_by_the_start_of_its_digest(
    ask: Ask, extracted: Any, tmp_path: Path
):
    trained = ask(
        *("train", "--store", extracted["store"], "--run-root", tmp_path / "runs"),
        *("--snapshot", extracted["snapshot"][:10], "--l2", "0.1"),
    )
    assert trained["dataset"] == "shifted"


def test_stores_are_listed_shown_and_verified(ask: Ask, extracted: Any, tmp_path: Path):
    (listed,) = ask("store", "ls", tmp_path / "stores")
    assert (listed["path"], listed["rows"]) == (extracted["store"], 896)
    shown = ask("store", "show", extracted["store"])
    assert shown["spec"]["backbone"] == "pixels"
    assert shown["features"]["pool"]["shape"] == [256 * 3 * 4]
    verified = ask("store", "verify", extracted["store"])
    assert verified["intact"] and verified["problems"] == []


def test_a_store_is_exported_to_one_file(ask: Ask, extracted: Any, tmp_path: Path):
    out = tmp_path / "x.npz"
    written = ask("store", "export", extracted["store"], out)
    assert written == {"out": str(out), "examples": 896, "bytes": out.stat().st_size}


def test_features_made_elsewhere_are_imported_and_trained_on(
    ask: Ask, extracted: Any, tmp_path: Path
):
    ask("store", "export", extracted["store"], tmp_path / "x.npz")
    imported = ask(
        *("store", "import", tmp_path / "x.npz", "--dataset", "shifted"),
        *("--backbone", "someone's pixels", "--weights", "none"),
        *("--store-root", tmp_path / "theirs"),
    )
    assert imported["rows_imported"] == imported["examples"] == 896
    runs = ("--run-root", tmp_path / "runs")
    theirs = ask("train", "--store", imported["store"], *runs)
    ours = ask("train", "--store", extracted["store"], *runs)
    assert theirs["test"] == ours["test"] and theirs["run"] != ours["run"]


def test_gc_says_what_it_would_drop_and_drops_it_when_told(
    ask: Ask, extracted: Any, tmp_path: Path
):
    few = (
        *("extract", "--data", "builtin:digits-shifted", "--backbone", "pixels"),
        *("--store-root", tmp_path / "stores", "--dataset", "shifted"),
        *("--exclude", "5/*"),
    )
    n = ask(*few)["examples"]
    planned = ask("store", "gc", extracted["store"], "--keep", "1")
    assert planned["dry_run"] and planned["rows"] == 896 - n
    assert ask("store", "ls", tmp_path / "stores")[0]["rows"] == 896
    dropped = ask("store", "gc", extracted["store"], "--keep", "1", "--yes")
    assert dropped["rows"] == 896 - n
    assert ask("store", "ls", tmp_path / "stores")[0]["rows"] == n
    assert ask("store", "verify", extracted["store"])["intact"]
    again = ask(*few)
    assert (again["rows_computed"], again["parity_inputs"]) == (0, 0)


def test_verify_finds_a_flipped_bit_and_exits_1(
    extracted: Any, capsys: pytest.CaptureFixture[str]
):
    (shard,) = Path(extracted["store"]).glob("shards/*.h5")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert run_command(["store", "verify", extracted["store"], "--json"]) == 1
    captured = capsys.readouterr()
    assert not json.loads(captured.out)["intact"]
    assert shard.name in captured.err


def test_backbones_are_listed_and_shown(ask: Ask):
    listed = {b["name"]: b for b in ask("backbone", "ls")}
    assert listed.keys() >= {"digits_cnn", "mobilenet_v2", "pixels", "resnet50"}
    assert listed["vgg16"]["layouts"] == ["torchvision", "timm", "keras-h5"]
    assert listed["pixels"]["checkpoints"] == 0 < listed["resnet50"]["checkpoints"]
    shown = ask("backbone", "show", "mobilenet_v2")
    assert shown["features"]["pool"] == [1280]
    assert shown["parameters"] == 2_257_984


def test_an_audio_backbone_is_shown_with_its_front_end_and_windows(
    capsys: pytest.CaptureFixture[str],
):
    for name, words in {
        "whisper_tiny": "windows of 30 s; 80 mel bins, log10, 8 below the loudest",
        "ast_base": "windows of 10.24 s; 128 mel bins, log as Kaldi's; (x + 4.26",
        "wav2vec2_base": "windows of 15.625 s; samples, each window to mean 0",
    }.items():
        assert run_command(["backbone", "show", name]) == 0
        page = " ".join(capsys.readouterr().out.split())
        assert "work of one window of a recording, " in page
        assert f"mean of channels, 16,000 Hz (soxr-vhq), {words}" in page


def test_predict_lists_labels_and_probabilities(
    ask: Ask, extracted: Any, tmp_path: Path
):
    trained = ask(
        *("train", "--store", extracted["store"], "--run-root", tmp_path / "runs"),
        *("--l2", "0.1"),
    )
    predicted = ask("predict", trained["run"], "builtin:digits-shifted")
    assert len(predicted) == 896
    assert set(predicted[0]["probabilities"]) == {"5", "6", "7", "8", "9"}
    assert predicted[0]["label"] in predicted[0]["probabilities"]


def test_init_writes_a_configuration_that_run_takes(tmp_path: Path):
    path = tmp_path / "pipeline.toml"
    assert run_command(["init", str(path), "--data", "builtin:digits"]) == 0
    config = make_config(tomllib.loads(path.read_text()), where="init")
    assert config.data.source == "builtin:digits"


def test_quickstart_shows_the_worth_of_transfer_and_reruns_for_nothing(
    ask: Ask, tmp_path: Path
):
    shown = ask("quickstart", tmp_path / "q", "--engine", "local")
    first, again = shown["first"], shown["again"]
    head, pixels, untrained = first["train"]["comparison"]
    assert [row["name"] for row in (head, pixels, untrained)] == [
        *("digits_cnn", "pixels", "random:0")
    ]
    for few in (lambda row: row["score"], lambda row: row["shots"]["5"]["mean"]):
        assert few(head) > few(untrained) + 0.1 > few(pixels) + 0.1
    assert head["measure"] == "accuracy" and head["score"] > 0.85
    assert first["transfer"]["verdict"] == "positive"
    assert first["transfer"]["sentence"].startswith("Transfer: positive, +")
    assert again["extract"]["rows_computed"] == again["extract"]["inputs_opened"] == 0
    assert again["extract"]["inputs_hashed"] == 0
    assert again["train"]["run"] == first["train"]["run"]
    assert Path(first["train"]["report"]).is_file()


def test_results_for_people_go_to_stdout_without_json(
    extracted: Any, capsys: pytest.CaptureFixture[str]
):
    assert run_command(["store", "show", extracted["store"]]) == 0
    captured = capsys.readouterr()
    assert "pixels" in captured.out and captured.err == ""
