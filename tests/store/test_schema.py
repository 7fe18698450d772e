import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tl_pipeline.errors import BackboneError, SpecMismatchError
from tl_pipeline.store.schema import (
    FeatureInfo,
    check_features,
    check_same_features,
    choose_shard_rows,
    file_stem,
    find_unstorable,
    range_rows,
    row_magnitudes,
)


@pytest.mark.parametrize(
    ("shape", "rows"), [((1,), 4096), ((2**20,), 32), ((2**27,), 1)]
)
def test_a_shard_has_64_mib_at_most_4096_rows_and_at_least_one(shape, rows):
    assert choose_shard_rows({"pool": FeatureInfo(shape, "float16")}) == rows


def test_a_later_feature_keeps_the_ranges_unless_its_shard_were_above_256_mib():
    mib = FeatureInfo((2**19,), "float16")
    assert range_rows(64, [mib]) == 64
    assert range_rows(300, [mib, mib]) == 128
    assert range_rows(300, [mib] * 300) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@given(data=st.data())
def test_magnitudes_are_those_of_numpy(dtype, data):
    shape = data.draw(array_shapes(min_dims=2, max_dims=3))
    rows = data.draw(arrays(dtype, shape))
    wanted = np.abs(rows).reshape(len(rows), -1).max(axis=1)
    np.testing.assert_array_equal(row_magnitudes(rows), wanted)


def test_what_is_not_finite_or_overflows_is_unstorable():
    rows = np.array([[65503.0], [65520.0], [-1e9], [np.nan], [-np.inf], [1e-9]])
    found = find_unstorable({"b": rows, "a": rows[:2]}, "float16")
    assert [(row, name) for row, name, _ in found] == [
        (1, "a"),
        (1, "b"),
        (2, "b"),
        (3, "b"),
        (4, "b"),
    ]
    assert found[2][2] == "overflows float16"
    assert found[3][2] == "has a value that is no number"
    assert [row for row, *_ in find_unstorable({"b": rows}, "float32")] == [3, 4]


@pytest.mark.parametrize("name", ["a/b", "..", "", "pool:AVG", "é"])
def test_a_feature_name_that_hdf5_would_take_apart_is_refused(name):
    with pytest.raises(BackboneError, match="cannot name a dataset"):
        check_features({name: FeatureInfo((1,), "float16")})


def test_bfloat16_and_empty_rows_are_refused():
    with pytest.raises(BackboneError, match="bfloat16.*float16 or float32"):
        check_features({"pool": FeatureInfo((1,), "bfloat16")})
    with pytest.raises(BackboneError, match=r"shape \[0\]"):
        check_features({"pool": FeatureInfo((0,), "float16")})


def test_another_classifier_is_a_mismatch_that_names_the_field():
    stored = {"logits": FeatureInfo((10,), "float16", "a" * 64)}
    wanted = {"logits": FeatureInfo((10,), "float16", "b" * 64)}
    new = {"pool": FeatureInfo((8,), "float16")}
    check_same_features("Feature store x", stored=stored, wanted=stored | new)
    with pytest.raises(
        SpecMismatchError, match="logits.classifier  stored aaaaaaaaaaaa….*bbbb"
    ):
        check_same_features("Feature store x", stored=stored, wanted=wanted | new)


@given(st.text(max_size=200))
def test_any_name_makes_a_file_name(name):
    stem = file_stem(name)
    assert stem and len(stem) <= 80 and stem.isascii()
    assert not set(stem) & set("/\0") and not stem.startswith(".")
