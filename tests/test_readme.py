"""The README is true: its commands, keys and code exist and run."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.cli.app import make_app, run_command
from tl_pipeline.config import make_config, write_template
from tl_pipeline.store.store import open_store

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands_of(text: str) -> list[list[str]]:
    """Returns the words of each `tl-pipeline` call in a text."""
    return [
        shlex.split(line.split("#")[0].split("tl-pipeline ", 1)[1])
        for line in text.replace("\\\n", " ").splitlines()
        if "tl-pipeline " in line
    ]


def test_the_keys_shown_are_those_that_init_writes():
    written = write_template(source="photos/", backbone="mobilenet_v2", weights="w.h5")
    (shown,) = blocks("toml")
    lines = iter(written.splitlines())
    for line in filter(None, shown.splitlines()):
        assert line in lines, line  # in order
    make_config(tomllib.loads(shown), where="README")


@pytest.mark.parametrize("words", commands_of("\n".join(blocks("bash"))), ids=" ".join)
def test_each_command_shown_exists_with_its_options(words: list[str]):
    command, bound, _ = make_app().parse_args(
        words, exit_on_error=False, print_error=False
    )
    assert command is not None and bound is not None


def test_every_command_is_in_the_table_and_none_else():
    table = README[README.index("## Commands") : README.index("## Python")]
    listed = set(re.findall(r"`([a-z]+(?: [a-z]+)?)`", table.partition("Every")[0]))
    listed -= {"pipeline"}
    app = make_app()
    existing = set()
    for name in app:
        if name.startswith("-"):
            continue
        if name in ("store", "backbone"):
            existing |= {f"{name} {sub}" for sub in app[name] if sub[0] != "-"}
        else:
            existing.add(name)
    assert listed == existing


def test_the_six_lines_of_h5py_join_features_with_targets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    argv = ["extract", "--data", "builtin:digits-shifted", "--backbone", "pixels"]
    assert run_command([*argv, "--store-root", str(tmp_path), "--json"]) == 0
    store = json.loads(capsys.readouterr().out)["store"]
    (code,) = [block for block in blocks("python") if "h5py" in block]
    names: dict[str, object] = {}
    exec(code.replace("stores/mobilenet_v2-DIGEST", store), names)
    joined = names["features"]
    assert isinstance(joined, list)
    rows = open_store(store).read("pool")
    np.testing.assert_array_equal([row for row, _ in joined], rows.features)
    assert tuple(target for _, target in joined) == rows.targets
    for file in (*names["files"], names["table"]):  # type: ignore[misc]
        file.close()


def test_the_readme_fits_a_sitting():
    assert len(README.splitlines()) < 400
    assert max(map(len, README.splitlines())) <= 180
