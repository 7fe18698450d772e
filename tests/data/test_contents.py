import hashlib
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.data.contents import digest_items, make_examples
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import ConfigError
from tl_pipeline.examples import Examples, find_conflicts, find_duplicates


def load_examples(folder: Path) -> Examples:
    dataset = load_dataset(folder, name="photos")
    contents = digest_items(dataset, None)
    return make_examples(dataset, contents, val_size=0.2, test_size=0.2)


def split_of_content(examples: Examples) -> dict[str, str]:
    return dict(zip(examples.hex_digests(), examples.splits, strict=True))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for n in range(60):
        path = tmp_path / "photos" / ("cats", "dogs")[n % 2] / f"é{n}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo %d" % n)
    return tmp_path / "photos"


def rename_files(folder: Path) -> None:
    for path in sorted(folder.rglob("*.jpg")):
        path.rename(path.with_name(f"new-{path.name}"))


def normalize_names(folder: Path) -> None:
    for path in sorted(folder.rglob("*.jpg")):
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))


def move_one_between_classes(folder: Path) -> None:
    (folder / "cats" / "é0.jpg").rename(folder / "dogs" / "é0.jpg")


def rename_classes(folder: Path) -> None:
    (folder / "cats").rename(folder / "zebras")
    (folder / "dogs").rename(folder / "apes")


def add_some(folder: Path) -> None:
    for n in range(20):
        (folder / "cats" / f"added{n}.jpg").write_bytes(b"added %d" % n)


def remove_some(folder: Path) -> None:
    for path in sorted((folder / "cats").iterdir())[::3]:
        path.unlink()


@pytest.mark.parametrize(
    "change",
    [
        rename_files,
        normalize_names,
        move_one_between_classes,
        rename_classes,
        add_some,
        remove_some,
    ],
)
def test_no_example_crosses_a_border_whatever_happens_to_others(photos: Path, change):
    before = split_of_content(load_examples(photos))
    assert set(before.values()) == {"train", "val", "test"}
    change(photos)
    after = split_of_content(load_examples(photos))
    common = before.keys() & after.keys()
    assert len(common) >= 50
    assert {key: before[key] for key in common} == {key: after[key] for key in common}


def test_nfc_and_nfd_names_make_the_same_table(photos: Path):
    before = load_examples(photos)
    normalize_names(photos)
    assert load_examples(photos).digest == before.digest


def test_duplicates_stand_on_one_side_and_conflicts_are_found(photos: Path):
    for n in range(0, 20, 2):
        data = (photos / "cats" / f"é{n}.jpg").read_bytes()
        (photos / "dogs" / f"again{n}.jpg").write_bytes(data)
    examples = load_examples(photos)
    assert len(find_duplicates(examples)) == len(find_conflicts(examples)) == 10
    split = dict(zip(examples.ids, examples.splits, strict=True))
    for n in range(0, 20, 2):
        assert split[f"cats/é{n}.jpg"] == split[f"dogs/again{n}.jpg"]


def test_content_is_the_sha256_of_the_bytes_in_order_of_id(photos: Path):
    dataset = load_dataset(photos)
    contents = digest_items(dataset, None, workers=3)
    assert [item.id for item in contents.items] == sorted(i.id for i in dataset.items)
    for item, row in zip(contents.items, contents.content, strict=True):
        assert row.tobytes() == hashlib.sha256(dataset.read(item)).digest()
    assert contents.hashed == 60 and contents.unreadable == ()


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(photos: Path):
    (photos / "cats" / "gone.jpg").symlink_to(photos / "nothing")
    dataset = load_dataset(photos)
    (photos / "dogs" / "é1.jpg").unlink()  # after it was listed
    contents = digest_items(dataset, None)
    assert contents.unreadable == (
        ("cats/gone.jpg", "cannot be read: No such file or directory"),
        ("dogs/é1.jpg", "cannot be read: No such file or directory"),
    )
    assert len(contents.items) == len(contents.content) == contents.hashed == 59
    examples = make_examples(dataset, contents, val_size=0, test_size=0)
    assert len(examples) == 59 and set(examples.splits) == {"train"}


def test_a_file_that_fails_while_it_is_read_is_named_too(photos: Path):
    dataset = load_dataset(photos)
    (photos / "cats" / "é0.jpg").unlink()
    (photos / "cats" / "é0.jpg").mkdir()
    contents = digest_items(dataset, None)
    assert contents.unreadable == (("cats/é0.jpg", "cannot be read: Is a directory"),)


def test_nothing_readable_makes_an_empty_table(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nothing")
    contents = digest_items(load_dataset(tmp_path), None)
    assert contents.content.shape == (0, 32) and contents.content.dtype == np.uint8


def test_splits_of_the_data_are_kept_and_validation_is_carved_from_train(
    tmp_path: Path,
):
    for n in range(50):
        for split in ("train", "val"):
            path = tmp_path / split / "a" / str(n)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{split} {n}".encode())
    examples = load_examples(tmp_path)
    given = [id_.split("/")[0] for id_ in examples.ids]
    pairs = set(zip(given, examples.splits, strict=True))
    assert pairs == {("train", "train"), ("train", "val"), ("val", "test")}


def test_shares_that_leave_nothing_to_train_on_are_refused(photos: Path):
    dataset = load_dataset(photos)
    contents = digest_items(dataset, None)
    with pytest.raises(ConfigError, match="val_size = 0.5 and test_size = 0.5"):
        make_examples(dataset, contents, val_size=0.5, test_size=0.5)


def test_progress_ends_at_the_number_of_examples(photos: Path):
    (photos / "cats" / "gone.jpg").symlink_to(photos / "nothing")
    told: list[tuple[int, int]] = []
    digest_items(load_dataset(photos), None, progress=lambda *now: told.append(now))
    assert told[-1] == (61, 61)
