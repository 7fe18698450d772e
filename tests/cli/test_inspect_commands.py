"""Looking into a store from the command line, on the built-in digits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tl_pipeline.cli.app import run_command


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with two snapshots: with some sevens, and without these."""
    root = tmp_path_factory.mktemp("inspect")
    common = ["extract", "--data", "builtin:digits-shifted", "--backbone", "pixels"]
    common += ["--exclude", "8/*", "9/*"]
    for more in (["7/1*"], ["7/*"]):
        assert run_command([*common, *more, "--store-root", str(root)]) == 0
    (folder,) = root.glob("pixels-*")
    return str(folder)


def ask(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    capsys.readouterr()
    assert run_command(["store", *argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refuse(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert run_command(["store", *argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ")
    return captured.err


def test_diff_finds_what_was_left_out(store: str, capsys: pytest.CaptureFixture[str]):
    found = ask(capsys, "diff", store)
    gone = found["a"]["examples"] - found["b"]["examples"]
    assert gone > 0
    assert found["examples"]["removed"]["count"] == gone
    assert found["examples"]["unchanged"] == found["b"]["examples"]
    assert [one["feature"] for one in found["drift"]] == ["pool"]
    assert [one["class"] for one in found["drift"][0]["classes"]] == ["5", "6"]
    assert {"class": "7", "a": gone, "b": 0} in found["classes"]


def test_stats_counts_rows_and_dimensions(
    store: str, capsys: pytest.CaptureFixture[str]
):
    found = ask(capsys, "stats", store, "--rows", "60", "--near", "0.9")
    (pool,) = found["features"]
    assert (pool["rows"], pool["of"]) == (60, found["examples"])
    assert pool["dimensions"] == 3072
    assert pool["near"]["above"] == 0.9


def test_neighbors_lists_as_many_as_asked_for(
    store: str, capsys: pytest.CaptureFixture[str]
):
    first = ask(capsys, "show", store)["snapshots"][0]["digest"]
    (id, *_) = ask(capsys, "diff", store)["examples"]["removed"]["first"]
    found = ask(capsys, "neighbors", store, id, "-k", "3", "--snapshot", first)
    assert len(found["neighbors"]) == 3
    similar = [one["similarity"] for one in found["neighbors"]]
    assert similar == sorted(similar, reverse=True)


def test_plot_writes_a_picture(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "x.png"
    found = ask(capsys, "plot", store, "--out", str(out), "--color", "split")
    assert found["path"] == str(out)
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("command", ["diff", "stats"])
def test_results_for_people_go_to_stdout(
    store: str, command: str, capsys: pytest.CaptureFixture[str]
):
    more = ["--rows", "60"] if command == "stats" else []
    assert run_command(["store", command, store, *more]) == 0
    captured = capsys.readouterr()
    assert "pool" in captured.out
    assert "error" not in captured.err


def test_wrong_requests_exit_2_with_one_message(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert "Did you mean" in refuse(capsys, "neighbors", store, "5/000x")
    assert ".png, .svg" in refuse(capsys, "plot", store, "--out", "x.gif")
    assert "none" in refuse(capsys, "stats", str(tmp_path / "none"))
    assert "no snapshot" in refuse(capsys, "diff", store, "--snapshot-b", "zz")


def test_looking_into_a_store_never_loads_jax(store: str, tmp_path: Path):
    out = str(tmp_path / "x.png")
    program = (
        "import sys\n"
        "from tl_pipeline.cli.app import run_command\n"
        f"for argv in (['stats', {store!r}, '--rows', '30'],\n"
        f"             ['neighbors', {store!r}, '5/0005'], ['diff', {store!r}],\n"
        f"             ['plot', {store!r}, '--out', {out!r}]):\n"
        "    assert run_command(['store', *argv]) == 0, argv\n"
        "assert not {'jax', 'flax', 'prefect'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        # Threads would wait for cores that other tests hold.
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def test_rank_puts_better_features_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    stores = []
    for backbone, weights in (("digits_cnn", "random:0"), ("digits_cnn", "pretrained")):
        argv = ["extract", "--data", "builtin:digits-shifted", "--backbone", backbone]
        argv += ["--weights", weights, "--store-root", str(tmp_path), "--json"]
        assert run_command(argv) == 0
        stores.append(json.loads(capsys.readouterr().out)["store"])
    argv = ["rank", *stores, "--features", "pool", "--most-rows", "200"]
    assert run_command([*argv, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["store"] for row in found["ranking"]] == stores[::-1]
    assert run_command(argv) == 0
    told = capsys.readouterr().out
    assert "logme" in told and found["trust"]["sentence"] in told
