import os
import unicodedata
from pathlib import Path

import pytest

from tl_pipeline.data.dataset import Dataset
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError


def make_files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def rows(dataset: Dataset) -> list[tuple[str, str | None, str | None]]:
    return [(item.id, item.target, item.split) for item in dataset.items]


def test_class_folders_give_targets_at_any_depth(tmp_path: Path):
    make_files(tmp_path, "dogs/b.jpg", "cats/zebra.txt", "cats/old/1/a.jpg")
    dataset = load_dataset(tmp_path)
    assert rows(dataset) == [
        ("cats/old/1/a.jpg", "cats", None),
        ("cats/zebra.txt", "cats", None),
        ("dogs/b.jpg", "dogs", None),
    ]
    assert [dataset.read(item).decode() for item in dataset.items] == [
        item.id for item in dataset.items
    ]
    assert not dataset.carve_val


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_split_folders_give_splits(tmp_path: Path, val: str):
    make_files(tmp_path, "train/a/1", f"{val}/a/1", "test/a/1")
    dataset = load_dataset(tmp_path)
    assert sorted(rows(dataset)) == sorted(
        [
            ("train/a/1", "a", "train"),
            (f"{val}/a/1", "a", "val"),
            ("test/a/1", "a", "test"),
        ]
    )
    assert dataset.notes == () and not dataset.carve_val


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_validation_alone_becomes_test_and_that_is_said(tmp_path: Path, val: str):
    dataset = load_dataset(make_files(tmp_path, "train/a/1", f"{val}/a/1"))
    assert [split for _, _, split in rows(dataset)] == ["train", "test"]
    assert dataset.carve_val
    assert dataset.notes == (
        f"`{val}` is used as the test split; validation is carved from `train`.",
    )


def test_without_validation_it_is_carved_from_train(tmp_path: Path):
    dataset = load_dataset(make_files(tmp_path, "train/a/1", "test/a/1"))
    assert {split for _, _, split in rows(dataset)} == {"train", "test"}
    assert dataset.carve_val
    assert dataset.notes == (
        "There is no validation split; it is carved from `train`.",
    )


def test_classes_may_be_called_as_splits_are(tmp_path: Path):
    dataset = load_dataset(make_files(tmp_path, "train/1", "test/1", "plane/1"))
    assert [target for _, target, _ in rows(dataset)] == ["plane", "test", "train"]
    assert {split for _, _, split in rows(dataset)} == {None}
    other_case = make_files(tmp_path / "other", "Train/1", "Test/1")
    assert {target for _, target, _ in rows(load_dataset(other_case))} == {
        "Train",
        "Test",
    }


@pytest.mark.parametrize("beside", ["extra/a/1", "README.md"])
def test_splits_with_something_beside_them_are_never_taken_for_classes(
    tmp_path: Path, beside: str
):
    make_files(tmp_path, "train/a/1", "val/a/1", beside)
    with pytest.raises(
        DatasetError, match=f"but {beside.split('/')[0]}/? stands beside"
    ):
        load_dataset(tmp_path)
    dataset = load_dataset(tmp_path, exclude=["extra/*", "README.md"])
    assert [split for _, _, split in rows(dataset)] == ["train", "test"]


def test_splits_under_other_names_are_pointed_at(tmp_path: Path):
    make_files(tmp_path, "Training/a/1", "Training/b/1", "Testing/a/1", "Testing/b/1")
    (note,) = load_dataset(tmp_path).notes
    assert note.startswith("Testing, Training are taken as classes")
    assert "folders a, b" in note


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train/a/1"], "of the splits it holds train only"),
        (["val/a/1", "test/a/1"], "of the splits it holds test, val only"),
        (["train/a/1", "val/a/1", "valid/a/1"], "val, valid all name the validation"),
        (["train/a/1", "test/1.jpg"], "test holds no class folders"),
        ([".hidden"], r"holds no examples \(ignored 1 hidden"),
        ([], "holds no examples"),
    ],
)
def test_a_layout_that_cannot_be_meant_is_refused(
    tmp_path: Path, names: list[str], message: str
):
    make_files(tmp_path, *names)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(tmp_path)
    assert str(tmp_path) in str(caught.value) and caught.value.exit_code == 2


def test_empty_class_folders_are_named_all_at_once(tmp_path: Path):
    make_files(tmp_path, "cats/1.jpg", "dogs/.DS_Store")
    (tmp_path / "birds" / "deep").mkdir(parents=True)
    with pytest.raises(DatasetError, match="its class folders birds, dogs hold no fil"):
        load_dataset(tmp_path)
    dataset = load_dataset(tmp_path, exclude=["birds/*", "dogs/*"])
    assert rows(dataset) == [("cats/1.jpg", "cats", None)]


def test_an_empty_class_folder_of_a_split_is_named(tmp_path: Path):
    make_files(tmp_path, "train/a/1", "train/b/1", "test/a/1")
    (tmp_path / "test" / "b").mkdir()
    with pytest.raises(DatasetError, match="its class folder test/b holds no files"):
        load_dataset(tmp_path)
    assert len(load_dataset(tmp_path, exclude=["test/b/*"])) == 3


def test_a_class_that_a_split_lacks_is_said(tmp_path: Path):
    make_files(tmp_path, "train/a/1", "train/b/1", "val/a/1", "test/a/1", "test/b/1")
    assert load_dataset(tmp_path).notes == ("Split val has no examples of b.",)


def test_files_without_class_folders_are_unlabeled(tmp_path: Path):
    dataset = load_dataset(make_files(tmp_path, "b.jpg", "a.jpg"))
    assert rows(dataset) == [("a.jpg", None, None), ("b.jpg", None, None)]
    assert dataset.notes == ("No class folders: all 2 files are unlabeled.",)


def test_what_is_passed_over_is_said(tmp_path: Path):
    make_files(tmp_path, "cats/1", "cats/.DS_Store", ".git/config", "labels.csv")
    os.mkfifo(tmp_path / "cats" / "pipe")
    (tmp_path / "cats" / "link to it").symlink_to(tmp_path / "cats" / "pipe")
    (tmp_path / "cats" / "loop").symlink_to(tmp_path / "cats")
    dataset = load_dataset(tmp_path)
    assert [id_ for id_, _, _ in rows(dataset)] == ["cats/1"]
    assert dataset.notes == (
        "Ignored what stands beside the class folders in the dataset's folder: "
        "labels.csv.",
        "Ignored 2 hidden files or folders.",
        "Ignored 3 pipes, devices or looping links.",
    )


def test_links_are_followed_and_broken_ones_are_examples(tmp_path: Path):
    make_files(tmp_path / "elsewhere", "1.jpg", "2.jpg")
    (tmp_path / "data" / "cats").mkdir(parents=True)
    (tmp_path / "data" / "dogs").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cats" / "gone.jpg").symlink_to(tmp_path / "nothing")
    dataset = load_dataset(tmp_path / "data")
    assert [id_ for id_, _, _ in rows(dataset)] == [
        "cats/gone.jpg",
        "dogs/1.jpg",
        "dogs/2.jpg",
    ]


def test_ids_and_classes_are_the_same_in_either_unicode_form(tmp_path: Path):
    names = ["Köln/é.jpg", "Köln/a.jpg"]
    for form in ("NFC", "NFD"):
        spelled = [unicodedata.normalize(form, name) for name in names]
        dataset = load_dataset(make_files(tmp_path / form, *spelled))
        assert rows(dataset) == [
            (
                unicodedata.normalize("NFC", name),
                unicodedata.normalize("NFC", "Köln"),
                None,
            )
            for name in sorted(unicodedata.normalize("NFC", name) for name in names)
        ]
        assert all(dataset.read(item) for item in dataset.items)


def test_two_files_of_one_id_are_refused(tmp_path: Path):
    nfc, nfd = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    make_files(tmp_path, f"a/{nfc}", f"a/{nfd}")
    if len(list((tmp_path / "a").iterdir())) == 1:
        pytest.skip("this file system normalizes names itself")
    with pytest.raises(DatasetError, match="'a/é.jpg' stand there more than once"):
        load_dataset(tmp_path)


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="its names are UTF-8")
def test_names_that_are_no_unicode_have_ids_all_the_same(tmp_path: Path):
    make_files(tmp_path, "a/1.jpg")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.jpg")).write_bytes(b"x")
    dataset = load_dataset(tmp_path)
    assert [id_ for id_, _, _ in rows(dataset)] == ["a/1.jpg", "a/\\xff.jpg"]
    assert dataset.read(dataset.items[1]) == b"x"


def test_the_odd_one_out_is_listed(tmp_path: Path):
    make_files(tmp_path, *(f"a/{n}.jpg" for n in range(11)), "a/x.JPEG", "a/x.gif")
    (note,) = load_dataset(tmp_path).notes
    assert note == "1 of 13 files is .gif, unlike the 12 .jpg: a/x.gif."


def test_real_photographs_are_listed_with_their_odd_one_out(realdata: Path):
    folder = realdata / "images" / "hymenoptera"
    dataset = load_dataset(folder)
    assert len(dataset) == 397 + 1 and dataset.carve_val
    assert "`val` is used as the test split" in dataset.notes[0]
    assert dataset.notes[1].endswith("train/ants/imageNotFound.gif.")
    without = load_dataset(folder, exclude=["*.gif"])
    assert len(without) == 397
    assert without.notes[1:] == ("`exclude` leaves out 1 example.",)
