"""Each wrong request: exit code 2, one message that says what to do, no traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tl_pipeline.cli.app import run_command
from tl_pipeline.store.store import open_store

Ask = Callable[..., str]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command that must be refused and returns its one message."""

    def ask(*argv: object, code: int = 2) -> str:
        assert run_command([str(word) for word in argv]) == code
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ")
        assert "Traceback" not in captured.err
        return captured.err

    return ask


def make_photos(folder: Path, counts: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def extract(*more: object) -> list[object]:
    return ["extract", "--backbone", "pixels", *more]


def test_a_missing_folder(ask: Ask, tmp_path: Path):
    message = ask(*extract("--data", tmp_path / "none", "--store-root", tmp_path / "s"))
    assert str(tmp_path / "none") in message


def test_an_empty_class_folder(ask: Ask, tmp_path: Path):
    photos = make_photos(tmp_path / "photos", {"ants": 2, "bees": 0})
    message = ask(*extract("--data", photos, "--store-root", tmp_path / "s"))
    assert "bees" in message


def test_an_unknown_builtin_lists_the_known_ones(ask: Ask, tmp_path: Path):
    message = ask(*extract("--data", "builtin:digit", "--store-root", tmp_path))
    assert "builtin:digits-shifted" in message


def test_a_table_with_several_mistakes_lists_them_all(ask: Ask, tmp_path: Path):
    table = tmp_path / "t.csv"
    table.write_text("path,sort,split\nnone.png,ant,train\nnone.png,bee,dev\n")
    message = ask(*extract("--data", table, "--store-root", tmp_path / "s"))
    for words in ("2 rows whose file", "row 2 'dev'", "the id of a row before: row 2"):
        assert words in message
    message = ask(*extract("--data", table, "--target-column", "sorts"))
    assert "no column 'sorts' for the target" in message and "mean 'sort'?" in message
    assert not (tmp_path / "s").exists()


def test_one_class_only_at_train(ask: Ask, tmp_path: Path):
    photos = make_photos(tmp_path / "photos", {"ants": 30})
    store = extract_store(photos, tmp_path / "stores")
    message = ask("train", "--store", store, "--run-root", tmp_path / "runs")
    assert "two classes" in message and "ants" in message


def test_an_unknown_backbone_suggests_one(ask: Ask, tmp_path: Path):
    message = ask("backbone", "show", "mobilenetv2")
    assert "mobilenetv2" in message and "mobilenet_v2" in message


def test_an_unknown_feature_lists_the_names(ask: Ask, tmp_path: Path):
    message = ask(
        *("extract", "--data", "builtin:digits-shifted", "--backbone", "digits_cnn"),
        *("--features", "poll", "--store-root", tmp_path),
    )
    assert "poll" in message and "pool" in message and "stage1" in message


def test_an_unknown_pooling_lists_the_poolings(ask: Ask, tmp_path: Path):
    message = ask(
        *("extract", "--data", "builtin:digits-shifted", "--backbone", "digits_cnn"),
        *("--features", "stage1:mean", "--store-root", tmp_path),
    )
    assert "avg, max, flatten, none" in message


def test_weights_of_another_architecture_list_mismatches_both_ways(
    ask: Ask, tmp_path: Path
):
    weights = tmp_path / "other.safetensors"
    save_file({"other.kernel": np.zeros((3, 3), np.float32)}, weights)
    message = ask(
        *("extract", "--data", "builtin:digits-shifted", "--backbone", "digits_cnn"),
        *("--weights", weights, "--store-root", tmp_path),
    )
    assert "other.kernel" in message and "stages.1.conv2.kernel" in message


@pytest.mark.parametrize("suffix", [".h5", ".safetensors"])
def test_a_truncated_weights_file(ask: Ask, tmp_path: Path, suffix: str):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    if suffix == ".h5":
        with h5py.File(whole, "w") as file:
            file["a"] = np.zeros(5000)
    else:
        save_file({"a": np.zeros(5000)}, whole)
    cut.write_bytes(whole.read_bytes()[:-2000])
    message = ask(
        *("extract", "--data", "builtin:digits-shifted", "--backbone", "digits_cnn"),
        *("--weights", cut, "--store-root", tmp_path),
    )
    assert str(cut) in message


def test_missing_weights_name_the_path(ask: Ask, tmp_path: Path):
    message = ask(
        *("extract", "--data", "builtin:digits-shifted", "--backbone", "mobilenet_v2"),
        *("--weights", tmp_path / "w.h5", "--store-root", tmp_path),
    )
    assert str(tmp_path / "w.h5") in message


def test_an_unknown_config_key(ask: Ask, tmp_path: Path):
    path = tmp_path / "pipeline.toml"
    path.write_text(
        '[data]\nsource = "x"\nvalsize = 0.1\n[backbone]\nname = "pixels"\n'
    )
    message = ask("run", path, "--engine", "local")
    assert "data.valsize" in message and "val_size" in message


def test_a_missing_config(ask: Ask, tmp_path: Path):
    assert "tl-pipeline init" in ask("run", tmp_path / "none.toml")


def test_init_does_not_overwrite(ask: Ask, tmp_path: Path):
    path = tmp_path / "pipeline.toml"
    path.write_text("mine")
    assert "--force" in ask("init", path)
    assert path.read_text() == "mine"


def test_no_store_there(ask: Ask, tmp_path: Path):
    for command in ("show", "verify"):
        assert str(tmp_path) in ask("store", command, tmp_path)
    assert str(tmp_path) in ask("train", "--store", tmp_path)


def test_no_run_there(ask: Ask, tmp_path: Path):
    assert str(tmp_path / "r") in ask("predict", tmp_path / "r", tmp_path)


def test_a_head_refuses_another_backbone_and_names_the_fields(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    photos = make_photos(tmp_path / "photos", {"ants": 30, "bees": 30})
    store = extract_store(photos, tmp_path / "stores")
    capsys.readouterr()
    arguments = ["train", "--store", store, "--run-root", str(tmp_path / "runs")]
    assert run_command([*arguments, "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    message = ask(
        *("predict", run, photos, "--backbone", "digits_cnn"),
        *("--weights", "pretrained"),
    )
    assert "backbone" in message and "pixels" in message and "digits_cnn" in message


def test_a_flows_that_is_not_ours(tmp_path: Path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("")
    path = tmp_path / "pipeline.toml"
    path.write_text('[data]\nsource = "x"\n[backbone]\nname = "pixels"\n')
    done = subprocess.run(
        [sys.executable, "-m", "tl_pipeline.cli", "run", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert str(tmp_path / "flows") in done.stderr and "--engine local" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_prefect_api_that_is_not_there_is_one_line(tmp_path: Path):
    path = tmp_path / "pipeline.toml"
    path.write_text('[data]\nsource = "x"\n[backbone]\nname = "pixels"\n')
    done = subprocess.run(
        [sys.executable, "-m", "tl_pipeline.cli", "run", str(path)],
        env=os.environ
        | {
            "PREFECT_API_URL": "http://127.0.0.1:9/api",
            "PREFECT_HOME": str(tmp_path / "prefect"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "train"),
        (["train"], "--store"),
        (["train", "--stor", "x"], "--store"),
        (["train", "--store", "x", "--n-seeds", "many"], "many"),
    ],
)
def test_a_mistyped_command_line(ask: Ask, argv: list[str], words: str):
    assert words in ask(*argv)


def extract_store(photos: Path, root: Path) -> str:
    argv = extract("--data", photos, "--store-root", root)
    assert run_command([str(word) for word in argv]) == 0
    return str(next(root.glob("pixels-*")))


def test_who_does_not_wait_for_a_store_is_told_who_writes_it(ask: Ask, tmp_path: Path):
    photos = make_photos(tmp_path / "photos", {"ants": 3, "bees": 3})
    root = tmp_path / "stores"
    store = extract_store(photos, root)
    again = extract("--data", photos, "--store-root", root, "--no-wait")
    config = tmp_path / "pipeline.toml"
    config.write_text(
        f'[data]\nsource = "{photos}"\n[backbone]\nname = "pixels"\n'
        f'[store]\nroot = "{root}"\n[baselines]\nnames = []\n'
    )
    with open_store(store).lock():
        said = {
            ask(*command, code=1)
            for command in (
                again,
                ("store", "gc", store, "--yes", "--no-wait"),
                ("run", config, "--engine", "local", "--no-wait"),
            )
        }
    (sentence,) = said  # the same words everywhere
    assert f"being written by process {os.getpid()}" in sentence
