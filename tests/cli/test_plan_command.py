"""`plan` on the command line: a table and a sentence, or plain numbers."""

import json
from pathlib import Path

import pytest

from tl_pipeline.cli.app import run_command

OPTIONS = ("--data", "builtin:digits-shifted", "--backbone", "pixels")
CONFIG = """
[data]
source = "builtin:digits-shifted"
[backbone]
name = "digits_cnn"
[store]
root = "{root}"
"""


def test_options_plan_what_extract_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    argv = [*OPTIONS, "--store-root", str(tmp_path)]
    assert run_command(["plan", *argv, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert run_command(["extract", *argv, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert planned["rows_to_compute"] == done["rows_computed"] == 896
    assert [store["store"] for store in planned["stores"]] == [done["store"]]
    assert isinstance(planned["bytes"], int) and isinstance(planned["seconds"], float)
    assert run_command(["plan", *argv]) == 0
    assert "Nothing to compute: all 896 rows are there." in capsys.readouterr().out


def test_a_configuration_plans_the_baselines_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = tmp_path / "pipeline.toml"
    config.write_text(CONFIG.format(root=tmp_path / "stores"))
    assert run_command(["plan", str(config)]) == 0
    said = capsys.readouterr().out
    table = [line.split()[:3] for line in said.splitlines()[2:5]]
    assert table == [
        [name, "pool", "896"] for name in ("digits_cnn", "pixels", "random:0")
    ]
    assert "images/s, as timed just now" in said.splitlines()[-1]


def test_a_configuration_and_options_at_once_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_command(["plan", str(tmp_path / "p.toml"), *OPTIONS]) == 2
    assert "one request is either" in capsys.readouterr().err
