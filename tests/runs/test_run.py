import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tl_pipeline.errors import NotFoundError, RunDamagedError, SpecMismatchError
from tl_pipeline.runs import find_run, list_runs, load_run, run_identity, write_run
from tl_pipeline.runs.run import FILES, INGREDIENTS, RUN


def test_a_run_makes_the_trip_through_its_folder(tmp_path: Path, parts: dict[str, Any]):
    written = write_run(tmp_path / "runs", "insects", **parts)
    run = load_run(str(written.path))
    identity = run_identity(parts["asked"])
    assert run.path.name == f"insects-{identity[:12]}"
    assert run.identity == identity
    for key in ("asked", "provenance", "head", "metrics"):
        assert getattr(run, key) == parts[key]
    assert run.created.endswith("+00:00")
    assert run.spec == parts["head"]["spec"]
    assert run.report.read_text(encoding="utf-8") == parts["report"]
    arrays = run.head_arrays()
    assert arrays.keys() == parts["head_arrays"].keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, parts["head_arrays"][name])
        assert array.shape == np.shape(parts["head_arrays"][name])
    assert sorted(os.listdir(run.path)) == sorted([*FILES, RUN])
    assert os.listdir(tmp_path / "runs") == [run.path.name]


def test_what_was_asked_for_again_is_found_and_nothing_else_is(
    tmp_path: Path, parts: dict[str, Any]
):
    identity = run_identity(parts["asked"])
    assert find_run(tmp_path / "none yet", "insects", identity) is None
    write_run(tmp_path, "insects", **parts)
    found = find_run(tmp_path, "insects", identity)
    assert found and found.identity == identity
    other = run_identity(parts["asked"] | {"version": "1.1"})
    assert find_run(tmp_path, "insects", other) is None


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.1"},
        {"spec": "6" * 64},
        {"snapshot": "f" * 64},
        {"features": ["pool", "stage4:avg"]},
        {"heads": {"kinds": ["linear"], "l2": [0.1, 2.0], "n_seeds": 3}},
        {"heads": {"kinds": ["linear"], "l2": [0.1, 1.0], "n_seeds": 4}},
        {"baselines": ["pixels"]},
    ],
    ids=str,
)
def test_each_ingredient_makes_another_run(
    parts: dict[str, Any], change: dict[str, object]
):
    assert run_identity(parts["asked"] | change) != run_identity(parts["asked"])


def test_order_and_tuples_make_no_other_run(parts: dict[str, Any]):
    turned = dict(reversed((parts["asked"] | {"features": ("pool",)}).items()))
    assert run_identity(turned) == run_identity(parts["asked"])


@pytest.mark.parametrize("key", INGREDIENTS)
def test_an_identity_without_an_ingredient_is_refused(parts: dict[str, Any], key: str):
    del parts["asked"][key]
    with pytest.raises(AssertionError, match=key):
        run_identity(parts["asked"])


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_file_is_named(
    tmp_path: Path, parts: dict[str, Any], file: str, damage: str
):
    path = write_run(tmp_path, "insects", **parts).path
    if damage == "remove":
        (path / file).unlink()
    else:
        data = bytearray((path / file).read_bytes())
        data[len(data) // 2] ^= 1
        (path / file).write_bytes(data)
    with pytest.raises(RunDamagedError, match=rf": {file} changed .* Restore it"):
        load_run(path)


def test_what_run_json_says_is_checked_too(tmp_path: Path, parts: dict[str, Any]):
    path = write_run(tmp_path, "insects", **parts).path / RUN
    about = json.loads(path.read_text())
    path.write_text(json.dumps(about | {"asked": about["asked"] | {"version": "2"}}))
    with pytest.raises(RunDamagedError, match=rf"{RUN} changed"):
        load_run(path.parent)
    for text in (json.dumps(about | {"files": {}}), "[]", '{"files":', "\udcff"):
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(RunDamagedError, match="cannot be read .* train again"):
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
    place = tmp_path / f"insects-{other[:12]}"
    shutil.copytree(run.path, place)
    with pytest.raises(RunDamagedError, match=f"it is run {run.identity}"):
        find_run(tmp_path, "insects", other)


def test_a_run_that_is_not_there_lists_those_that_are(
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


def test_another_spec_is_refused_field_by_field(tmp_path: Path, parts: dict[str, Any]):
    run = write_run(tmp_path, "insects", **parts)
    run.check_spec(parts["head"]["spec"])
    with pytest.raises(SpecMismatchError, match="toy, wanted resnet") as caught:
        run.check_spec(run.spec | {"backbone": "resnet"})
    assert str(run.path) in str(caught.value)
    assert "weights  " not in str(caught.value)


@pytest.mark.parametrize("name", ["../up", ".tmp-x", "a/b", "", "日" * 300, "a\0b"])
def test_any_dataset_name_makes_one_visible_folder(
    tmp_path: Path, parts: dict[str, Any], name: str
):
    run = write_run(tmp_path / "runs", name, **parts)
    assert os.listdir(tmp_path) == ["runs"]
    assert list_runs(tmp_path / "runs") == [run.path]
    assert find_run(tmp_path / "runs", name, run.identity) is not None


def test_a_figure_that_is_no_number_leaves_nothing(
    tmp_path: Path, parts: dict[str, Any]
):
    with pytest.raises(ValueError, match="JSON"):
        write_run(tmp_path, "x", **parts | {"metrics": {"loss": float("nan")}})
    assert os.listdir(tmp_path) == []


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
