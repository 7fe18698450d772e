import hashlib

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tl_pipeline.errors import ConfigError
from tl_pipeline.examples import (
    Examples,
    assign_split,
    check_split_sizes,
    find_conflicts,
    find_duplicates,
    find_leaks,
)

SIZES = {"val_size": 0.15, "test_size": 0.15}


def content_of(*names: str) -> np.ndarray:
    digests = b"".join(hashlib.sha256(name.encode()).digest() for name in names)
    return np.frombuffer(digests, np.uint8).reshape(-1, 32)


def split_of(
    name: str,
    *,
    given: str | None = None,
    group: str | None = None,
    carve: bool = False,
) -> str:
    content = hashlib.sha256(name.encode()).digest()
    return assign_split(given, content=content, group=group, carve_val=carve, **SIZES)


def test_shares_come_out_as_asked():
    splits = [split_of(str(i)) for i in range(20_000)]
    assert splits.count("val") / 20_000 == pytest.approx(0.15, abs=0.01)
    assert splits.count("test") / 20_000 == pytest.approx(0.15, abs=0.01)


@given(st.text(min_size=1), st.lists(st.text(), min_size=2, max_size=20))
def test_a_group_never_spans_splits(group: str, names: list[str]):
    assert len({split_of(name, group=group) for name in names}) == 1


def test_validation_is_carved_from_train_alone():
    names = [str(i) for i in range(1000)]
    carved = [split_of(name, given="train", carve=True) for name in names]
    assert set(carved) == {"train", "val"}
    assert 100 < carved.count("val") < 200
    assert {split_of(name, given="test", carve=True) for name in names} == {"test"}
    assert {split_of(name, given="train") for name in names} == {"train"}


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.5, 0.5), (0.0, 1.0)])
def test_shares_that_leave_nothing_to_train_on_are_refused(val: float, test: float):
    with pytest.raises(ConfigError, match=str(val)):
        check_split_sizes(val, test)


def table(**changes: object) -> Examples:
    fields: dict = {
        "dataset": "d",
        "ids": ("a", "b", "c", "d"),
        "content": content_of("1", "2", "1", "2"),
        "targets": ("x", "y", "x", None),
        "splits": ("train", "train", "test", "train"),
        "groups": (None,) * 4,
    }
    return Examples(**(fields | changes))


def test_shared_bytes_are_listed_by_what_they_disagree_on():
    assert find_duplicates(table()) == [["a", "c"], ["b", "d"]]
    assert find_conflicts(table()) == [["b", "d"]]
    assert find_leaks(table()) == [["a", "c"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "e"},
        {"ids": ("a", "b", "c", "e")},
        {"content": content_of("1", "2", "1", "3")},
        {"targets": ("x", "y", "x", "None")},
        {"splits": ("train", "train", "test", "val")},
        {"groups": (None, None, None, "g")},
    ],
)
def test_every_column_counts_in_the_digest(changes: dict):
    assert table(**changes).digest != table().digest
    assert table().digest == table().digest


def test_classes_that_are_numbers_are_sorted_as_numbers():
    assert table(targets=("10", "9", "1", None)).classes == ("1", "9", "10")
    assert table(targets=("b", "a", "10", None)).classes == ("10", "a", "b")


def test_part_of_a_table_keeps_its_order():
    part = table().take([3, 0])
    assert part.ids == ("a", "d")
    assert part.targets == ("x", None)
    assert len(table().take([])) == 0
