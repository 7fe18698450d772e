from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_pipeline.errors import DatasetError
from tl_pipeline.examples import SPLITS, Examples
from tl_pipeline.store.snapshots import build_snapshot, parse_snapshot

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@st.composite
def tables(draw) -> Examples:
    ids = sorted(draw(st.sets(TEXT, max_size=12)))
    n = len(ids)
    lists = st.lists(st.none() | TEXT, min_size=n, max_size=n)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return Examples(
        draw(TEXT),
        tuple(ids),
        rng.integers(0, 256, (n, 32), np.uint8),
        tuple(draw(lists)),
        tuple(draw(st.lists(st.sampled_from(SPLITS), min_size=n, max_size=n))),
        tuple(draw(lists)),
        {name: tuple(draw(lists)) for name in sorted(draw(st.sets(TEXT, max_size=3)))},
    )


@given(tables())
def test_any_table_comes_back_the_same(examples):
    data, entry = build_snapshot(examples)
    again = parse_snapshot(Path("x.h5"), bytes(data), entry)
    assert again.digest == examples.digest == entry.digest
    assert again.targets == examples.targets
    assert again.groups == examples.groups
    assert again.columns == examples.columns
    assert bytes(build_snapshot(examples)[0]) == bytes(data)


def test_a_zero_byte_is_refused_because_hdf5_would_drop_it():
    examples = Examples(
        "toy", ("a\0",), np.zeros((1, 32), np.uint8), (None,), ("train",), (None,)
    )
    with pytest.raises(DatasetError, match=r"id .*zero byte"):
        build_snapshot(examples)


def test_it_reads_like_a_document(toy, tmp_path):
    data, entry = build_snapshot(toy.make_examples(toy.make_content(9)))
    (tmp_path / entry.name).write_bytes(data)
    with h5py.File(tmp_path / entry.name) as file:
        assert file["id"].asstr()[0] == "00000.png"
        assert file["split"].asstr()[:3].tolist() == ["train", "val", "test"]
        assert file.attrs["dataset"] == b"toy"
        assert b"targets and splits" in file.attrs["description"]
        for dataset in file.values():
            assert dataset.attrs["description"]
            assert dataset.fletcher32
