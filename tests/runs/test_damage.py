"""What is found in a folder of runs that no run of this package left there whole."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_pipeline.errors import NotFoundError, RunDamagedError
from tl_pipeline.runs import find_run, list_runs, load_run, run_identity, write_run
from tl_pipeline.runs.run import FILES, INGREDIENTS, RUN


def test_a_run_is_its_files_and_nothing_else(tmp_path: Path, parts: dict[str, Any]):
    run = load_run(write_run(tmp_path, "insects", **parts).path)
    assert sorted(os.listdir(run.path)) == sorted([*FILES, RUN])
    assert run.path.name == f"insects-{run.identity[:12]}"
    assert run.created.endswith("+00:00")
    assert run.report.read_text(encoding="utf-8") == parts["report"]
    for name, array in run.head_arrays().items():
        np.testing.assert_array_equal(array, parts["head_arrays"][name])
        assert array.shape == np.shape(parts["head_arrays"][name])  # () stays ()


@pytest.mark.parametrize("key", INGREDIENTS)
def test_an_identity_without_an_ingredient_is_refused(parts: dict[str, Any], key: str):
    del parts["asked"][key]
    with pytest.raises(AssertionError, match=key):
        run_identity(parts["asked"])


def test_order_tuples_and_the_day_make_no_other_run(parts: dict[str, Any]):
    turned = dict(reversed((parts["asked"] | {"features": ("pool",)}).items()))
    assert run_identity(turned) == run_identity(parts["asked"])


def test_a_report_and_a_list_of_files_that_were_changed_are_damage(
    tmp_path: Path, parts: dict[str, Any]
):
    path = write_run(tmp_path, "insects", **parts).path
    (path / "report.html").write_text("better figures")
    with pytest.raises(RunDamagedError, match="report.html changed .* Restore it"):
        load_run(path)
    about = json.loads((path / RUN).read_text())
    del about["files"]["report.html"]  # what nobody vouches for is not intact
    (path / RUN).write_text(json.dumps(about))
    with pytest.raises(RunDamagedError, match="report.html"):
        load_run(path)


def test_what_was_asked_cannot_be_changed_afterwards(
    tmp_path: Path, parts: dict[str, Any]
):
    path = write_run(tmp_path, "insects", **parts).path / RUN
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"asked": about["asked"] | {"version": "2"}}))
    with pytest.raises(RunDamagedError, match=rf"{RUN} changed"):
        load_run(path.parent)


def test_a_damaged_run_is_not_silently_made_anew(tmp_path: Path, parts: dict[str, Any]):
    run = write_run(tmp_path, "insects", **parts)
    (run.path / RUN).unlink()
    for again in (
        lambda: find_run(tmp_path, "insects", run.identity),
        lambda: write_run(tmp_path, "insects", **parts),
    ):
        with pytest.raises(RunDamagedError, match=f"{RUN} is missing.* delete it"):
            again()
    assert os.listdir(tmp_path) == [run.path.name]


def test_a_run_under_the_name_of_another_is_not_taken_for_it(
    tmp_path: Path, parts: dict[str, Any]
):
    run = write_run(tmp_path, "insects", **parts)
    other = run_identity(parts["asked"] | {"version": "1.1"})
    shutil.copytree(run.path, tmp_path / f"insects-{other[:12]}")
    with pytest.raises(RunDamagedError, match=f"it is run {run.identity}"):
        find_run(tmp_path, "insects", other)


def test_a_run_that_is_not_there_lists_the_latest_that_are(
    tmp_path: Path, parts: dict[str, Any]
):
    with pytest.raises(NotFoundError, match=r"Asked for the run .*beside it: none\."):
        load_run(tmp_path / "nowhere" / "x")
    names = []
    for i in range(12):
        asked = parts["asked"] | {"version": str(i)}
        run = write_run(tmp_path, "insects", **parts | {"asked": asked})
        os.utime(run.path / RUN, (1e9 + i, 1e9 + i))
        names.append(run.path.name)
    with pytest.raises(NotFoundError, match=names[-1]) as caught:
        load_run(tmp_path / "insects-typo")
    assert names[2] in str(caught.value)
    assert names[1] not in str(caught.value)
    assert "and 2 older ones" in str(caught.value)
    assert [path.name for path in list_runs(tmp_path)] == names


@pytest.mark.parametrize("name", ["../up", ".tmp-x", "a/b", "", "日" * 300, "a\0b"])
def test_any_dataset_name_makes_one_visible_folder(
    tmp_path: Path, parts: dict[str, Any], name: str
):
    run = write_run(tmp_path / "runs", name, **parts)
    assert os.listdir(tmp_path) == ["runs"]
    assert list_runs(tmp_path / "runs") == [run.path]
    assert find_run(tmp_path / "runs", name, run.identity) is not None


def test_a_page_is_utf8_whatever_the_locale_and_takes_odd_characters(
    tmp_path: Path, parts: dict[str, Any]
):
    run = write_run(tmp_path, "x", **parts | {"report": "ü \udcff"})
    assert run.report.read_bytes() == "ü \\udcff".encode()


def test_leftovers_go_when_they_are_old_and_foreign_folders_stay(
    tmp_path: Path, parts: dict[str, Any]
):
    now = time.time()
    for name, age in (
        (".tmp-run-old", 25 * 3600),
        (".tmp-run-new", 3600),
        (".tmp-mine", 25 * 3600),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / RUN).write_text("{}")
        os.utime(tmp_path / name, (now - age, now - age))
    run = write_run(tmp_path, "x", **parts)
    assert sorted(os.listdir(tmp_path)) == [".tmp-mine", ".tmp-run-new", run.path.name]
    assert list_runs(tmp_path) == [run.path]
