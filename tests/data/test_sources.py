import subprocess
import sys
from pathlib import Path

import pytest

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError


def make_photos(folder: Path) -> Path:
    for name in ("cats/a.jpg", "cats/b.jpg", "dogs/a.jpg"):
        path = folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder / "photos"


def test_a_dataset_has_its_folders_name_or_the_one_asked_for(tmp_path: Path):
    photos = make_photos(tmp_path)
    dataset = load_dataset(photos)
    assert (dataset.name, dataset.source) == ("photos", str(photos))
    assert load_dataset(str(photos), name="pets").name == "pets"


def test_a_relative_path_gives_absolute_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_photos(tmp_path)
    monkeypatch.chdir(tmp_path / "photos")
    dataset = load_dataset(".")
    assert dataset.name == "photos"
    assert all(item.path.is_absolute() for item in dataset.items)
    assert dataset.read(dataset.items[0]) == b"cats/a.jpg"


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a\nb", "x" * 101])
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(
    tmp_path: Path, name: str
):
    with pytest.raises(DatasetError, match="becomes part of file names"):
        load_dataset(make_photos(tmp_path), name=name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("builtin:digit", "Did you mean builtin:digits?"),
        ("builtin:mnist", "the built-in ones are builtin:digits, builtin:digits-sh"),
        ("digits-shifted", "Did you mean builtin:digits-shifted?"),
        ("", "'': there is no such folder"),
        ("{}/photo", "Did you mean {}/photos?"),
        (
            "{}/nowhere/photos",
            "no such folder or file. Name a folder, a table, arrays, or one of",
        ),
        ("{}/photos/cats/a.jpg", "it is a file"),
    ],
)
def test_a_source_that_is_not_there_gets_a_sentence(
    tmp_path: Path, source: str, message: str
):
    make_photos(tmp_path)
    with pytest.raises(DatasetError) as caught:
        load_dataset(source.format(tmp_path))
    assert message.format(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_patterns_leave_examples_out_and_say_how_many(tmp_path: Path):
    dataset = load_dataset(make_photos(tmp_path), exclude=["*/a.jpg"])
    assert [item.id for item in dataset.items] == ["cats/b.jpg"]
    assert dataset.notes == ("`exclude` leaves out 2 examples.",)


def test_patterns_leave_out_whole_classes_and_count_their_examples(tmp_path: Path):
    dataset = load_dataset(make_photos(tmp_path), exclude="cats/*")
    assert [item.id for item in dataset.items] == ["dogs/a.jpg"]
    assert dataset.notes == ("`exclude` leaves out 2 examples.",)


def test_a_pattern_that_matches_nothing_is_said(tmp_path: Path):
    dataset = load_dataset(make_photos(tmp_path), exclude=["*.gif", "*/A.jpg"])
    assert len(dataset) == 3  # case counts
    assert [note.split(" matches")[0] for note in dataset.notes] == [
        "The `exclude` pattern '*.gif'",
        "The `exclude` pattern '*/A.jpg'",
    ]
    assert "ids look like 'cats/a.jpg'" in dataset.notes[0]


def test_leaving_everything_out_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="leaves none of its 3 examples"):
        load_dataset(make_photos(tmp_path), exclude=["*"])


def test_patterns_work_on_built_in_datasets_too():
    dataset = load_dataset("builtin:digits", exclude=["[0-7]/*"])
    assert {item.target for item in dataset.items} == {"8", "9"}


def test_loading_the_part_loads_nothing_heavy():
    program = (
        "import sys, tl_pipeline.data as data\n"
        "data.load_dataset('builtin:digits')\n"
        "print([m for m in ('jax', 'sklearn', 'pyarrow', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
