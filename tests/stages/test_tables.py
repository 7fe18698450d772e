"""Tables and arrays end to end: the commands, on real images, and what moving costs."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from tl_pipeline.cli.app import run_command
from tl_pipeline.data.builtin import make_shifted_digits
from tl_pipeline.data.decoding import decode_image

Ask = Callable[..., Any]
COLUMNS = ["photo", "sign", "split", "signer", "key"]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command with `--json` and returns what stdout held."""

    def ask(*argv: object) -> Any:
        code = run_command([*map(str, argv), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return ask


def write_table(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


@pytest.fixture
def table(realdata: Path, tmp_path: Path) -> tuple[Path, list[list[str]]]:
    """A table of 120 photographs of hands, three signs, four to a signer."""
    rows = []
    for sign in "019":
        folder = realdata / "images" / "sign-language-digits" / sign
        for i, photo in enumerate(sorted(folder.iterdir())[:40]):
            split = ("train", "train", "val", "", "test")[i // 4 % 5]
            rows.append([str(photo), sign, split, f"{sign}-{i // 4}", f"{sign}/{i}"])
    return write_table(tmp_path / "hands.csv", rows), rows


def extract_table(ask: Ask, table: Path, root: Path) -> Any:
    return ask(
        *("extract", "--data", table, "--backbone", "pixels", "--store-root", root),
        *("--path-column", "photo", "--target-column", "sign"),
        *("--group-column", "signer", "--id-column", "key"),
    )


def test_a_table_is_extracted_and_shown_and_its_splits_move_for_nothing(
    ask: Ask, table: tuple[Path, list[list[str]]], tmp_path: Path
):
    path, rows = table
    first = extract_table(ask, path, tmp_path / "stores")
    assert first["examples"] == first["rows_computed"] == 120
    assert first["dataset"] == "hands"
    shown = ask("store", "show", first["store"])
    (snapshot,) = shown["snapshots"]
    assert snapshot["dataset"] == "hands" and snapshot["rows"] == 120
    rows[0][2], rows[1][1] = "test", "9"  # another split, another sign
    write_table(path, rows)
    again = extract_table(ask, path, tmp_path / "stores")
    assert again["snapshot"] != first["snapshot"] and again["store"] == first["store"]
    assert again["rows_computed"] == again["inputs_opened"] == 0
    assert len(ask("store", "show", first["store"])["snapshots"]) == 2


def test_groups_of_a_table_stay_on_one_side(
    ask: Ask, table: tuple[Path, list[list[str]]], tmp_path: Path
):
    path, rows = table
    write_table(path, [[*row[:2], "", *row[3:]] for row in rows])
    store = extract_table(ask, path, tmp_path / "stores")["store"]
    (snapshot,) = Path(store, "snapshots").glob("*.h5")
    with h5py.File(snapshot) as file:
        groups, splits = file["group"][:].tolist(), file["split"][:].tolist()
    pairs = set(zip(groups, splits, strict=True))
    assert len(pairs) == 30 and len({split for _, split in pairs}) == 3


def test_a_pipeline_runs_on_a_table_and_predicts_from_one(
    ask: Ask, table: tuple[Path, list[list[str]]], tmp_path: Path
):
    path, rows = table
    config = tmp_path / "pipeline.toml"
    config.write_text(
        f'[data]\nsource = "{path}"\npath = "photo"\ntarget = "sign"\n'
        'group = "signer"\nid = "key"\n'
        '[backbone]\nname = "pixels"\n[baselines]\nnames = []\nshots = []\n'
        f'[store]\nroot = "{tmp_path}/stores"\n'
        f'[heads]\nl2 = [0.01]\n[run]\nroot = "{tmp_path}/runs"\n'
    )
    summary = ask("run", config, "--engine", "local")
    assert summary["extract"]["rows_computed"] == 120
    assert summary["train"]["dataset"] == "hands"
    unlabeled = tmp_path / "new.csv"
    unlabeled.write_text("path\n" + "".join(f"{row[0]}\n" for row in rows[:5]))
    predictions = ask("predict", summary["train"]["run"], unlabeled)
    assert [one["id"] for one in predictions] == sorted(row[0] for row in rows[:5])
    assert {one["label"] for one in predictions} <= set("019")


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_digits_as_arrays_share_the_rows_of_the_digits_themselves(
    ask: Ask, tmp_path: Path, suffix: str
):
    digits = make_shifted_digits([7, 8], name="digits-shifted")
    images = [np.asarray(decode_image(digits.read(item))) for item in digits.items]
    arrays = {
        "images": np.stack(images),
        "targets": np.array([int(item.target or 0) for item in digits.items]),
    }
    path = tmp_path / f"digits{suffix}"
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = array
    argv = ("extract", "--backbone", "digits_cnn", "--store-root", tmp_path / "stores")
    whole = ask(*argv, "--data", "builtin:digits-shifted")
    assert whole["rows_computed"] == whole["examples"]
    report = ask(*argv, "--data", path)
    assert report["examples"] == len(digits) > 300
    assert report["rows_computed"] == report["inputs_opened"] == 0
    assert report["store"] == whole["store"]


def test_a_png_and_its_array_are_extracted_to_the_same_row(ask: Ask, tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    (tmp_path / "png").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "png" / f"{i}.png")
    np.savez(tmp_path / "arrays.npz", images=images)
    names = "".join(f"png/{i}.png\n" for i in range(8))
    (tmp_path / "t.csv").write_text(f"file\n{names}")
    argv = ("extract", "--backbone", "pixels", "--store-root", tmp_path / "stores")
    for source in ("t.csv", "arrays.npz"):
        report = ask(*argv, "--data", tmp_path / source)
        assert report["rows_computed"] == 8 and not report["failures"]
    rows = []
    for shard in sorted(Path(report["store"], "shards").glob("*.h5")):
        with h5py.File(shard) as file:
            rows.append(np.sort(file["features/pool"][:], axis=0))
    np.testing.assert_array_equal(rows[0], rows[1])
