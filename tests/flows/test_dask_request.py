"""What is asked for with `runner = "dask"`, and cannot be had."""

import importlib.util
from pathlib import Path

import pytest

from flows.dask_runner import (
    DaskRunner,
    compute_rows,
    find_extract_runner,
    find_sweep_runner,
)
from tl_pipeline.cli.app import run_command
from tl_pipeline.config import make_config
from tl_pipeline.errors import RequestError, WorkersError

LEAST = {"data": {"source": "builtin:digits"}, "backbone": {"name": "pixels"}}
ASKED = LEAST | {"extract": {"runner": "dask"}}
SWEEP = LEAST | {"sweep": {"runner": "dask"}}


def plain(asked: dict) -> dict:
    return make_config(asked, where="test").to_json()


def test_one_process_is_the_default():
    for find in (find_extract_runner, find_sweep_runner):
        assert find(plain(LEAST)) is None
    assert isinstance(find_extract_runner(plain(ASKED)), DaskRunner)
    assert find_sweep_runner(plain(ASKED)) is None
    assert isinstance(find_sweep_runner(plain(SWEEP)), DaskRunner)


def test_without_the_extra_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "prefect_dask" else find(name),
    )
    with pytest.raises(RequestError, match=r"pip install 'tl-pipeline\[dask\]'"):
        find_extract_runner(plain(ASKED))
    with pytest.raises(RequestError, match=r"in \[sweep\].*tl-pipeline\[dask\]"):
        find_sweep_runner(plain(SWEEP))
    assert find_extract_runner(plain(LEAST)) is None


def test_the_local_engine_says_that_dask_needs_prefect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "pipeline.toml"
    path.write_text(
        '[data]\nsource = "builtin:digits"\n[backbone]\nname = "pixels"\n'
        f'[store]\nroot = "{tmp_path}/stores"\n[extract]\nrunner = "dask"\n'
    )
    assert run_command(["run", str(path), "--engine", "local"]) == 2
    said = capsys.readouterr().err
    assert 'runner = "dask"' in said and "Leave out --engine local" in said
    assert not (tmp_path / "stores").exists()


def test_a_scheduler_that_does_not_answer_is_named_with_what_to_start(
    monkeypatch: pytest.MonkeyPatch,
):
    import dask

    address = "tcp://127.0.0.1:9"  # the port of `discard`, where nobody listens
    with dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}):
        with pytest.raises(WorkersError, match=f"{address}.*dask scheduler"):
            next(DaskRunner(compute_rows, address).run(iter(())))
