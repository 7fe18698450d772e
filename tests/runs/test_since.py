"""What is measured of a run after it was written: its files stay, its page is new."""

import json
from pathlib import Path
from typing import Any

import pytest

from tl_pipeline.errors import RunDamagedError
from tl_pipeline.runs import Run, load_run, since, write_run
from tl_pipeline.runs.run import FILES, RUN
from tl_pipeline.runs.since import SINCE, add_measured


@pytest.fixture
def run(tmp_path: Path, parts: dict[str, Any]) -> Run:
    return write_run(tmp_path, "insects", **parts)


def page_of(measured: Any) -> str:
    return f"a page that shows {sorted(measured)}: \udcff"


def test_figures_are_added_and_the_runs_own_files_stay(run: Run):
    kept = {name: (run.path / name).read_bytes() for name in (*FILES, RUN)}
    assert run.since == {}
    add_measured(run.report, {"robustness": {"n": 3}}, make_page=page_of)
    add_measured(run.report, {"finetune": [1.5, None]}, make_page=page_of)
    add_measured(run.report, {"robustness": {"n": 4}}, make_page=page_of)
    again = load_run(run.path)
    assert again.since == {"robustness": {"n": 4}, "finetune": [1.5, None]}
    assert (
        again.report.read_text()
        == "a page that shows ['finetune', 'robustness']: \\udcff"
    )
    assert again.identity == run.identity
    for name, data in kept.items():
        assert (run.path / name).read_bytes() == data or name == run.report.name


def test_killed_between_figures_and_page_a_run_has_its_page_of_before(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    add_measured(run.report, {"first": 1}, make_page=page_of)
    before = run.report.read_bytes()

    def die(path: Path, data: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(since, "write_atomically", die)
        add_measured(run.report, {"second": 2}, make_page=page_of)
    again = load_run(run.path)
    assert again.since == {"first": 1, "second": 2}
    assert again.report.read_bytes() == before
    add_measured(run.report, {"third": 3}, make_page=page_of)
    assert "['first', 'second', 'third']" in load_run(run.path).report.read_text()


def test_a_page_of_nobodys_making_is_still_damage(run: Run):
    add_measured(run.report, {"first": 1}, make_page=page_of)
    run.report.write_text("better figures")
    with pytest.raises(RunDamagedError, match="report.html changed"):
        load_run(run.path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"measured": 3, "pages": []}'])
def test_mangled_figures_are_one_sentence(run: Run, text: str):
    (run.path / SINCE).write_text(text)
    with pytest.raises(RunDamagedError, match=f"{SINCE} cannot be read"):
        load_run(run.path)


def test_what_was_measured_vouches_for_no_other_file(run: Run):
    add_measured(run.report, {"first": 1}, make_page=page_of)
    figures = run.path / "metrics.json"
    figures.write_text(json.dumps({"accuracy": 1}))
    with pytest.raises(RunDamagedError, match="metrics.json changed"):
        load_run(run.path)
