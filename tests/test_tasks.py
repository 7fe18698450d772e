import numpy as np
import pytest

from tl_pipeline.errors import DatasetError
from tl_pipeline.tasks import Task, encode_classes, encode_labels, encode_numbers


def test_an_unlabeled_example_has_no_class():
    assert encode_classes(["b", None, "a"], ("a", "b")).tolist() == [1, -1, 0]


def test_labels_are_read_in_every_spelling_and_a_missing_one_is_no_no():
    columns = [["1", "0", None], ["Yes", "false", "TRUE "]]
    labels = encode_labels(columns, ("a", "b"), dataset="birds")
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [[1, 1], [0, 0], [np.nan, 1]])


def test_a_label_that_is_neither_yes_nor_no_is_named():
    with pytest.raises(DatasetError, match="label 'b' of birds, found 'maybe'"):
        encode_labels([["1"], ["maybe"]], ("a", "b"), dataset="birds")


def test_numbers_are_read_and_missing_ones_kept_apart():
    numbers = encode_numbers([["1.5", None, "-2e3"]], ("length",), dataset="birds")
    assert numbers.dtype == np.float32
    np.testing.assert_array_equal(numbers, [[1.5], [np.nan], [-2000]])


@pytest.mark.parametrize("text", ["long", "nan", "inf", "1e60", ""])
def test_a_target_that_is_no_finite_number_is_named(text):
    with pytest.raises(DatasetError, match=f"'length' of birds, found '{text}'"):
        encode_numbers([[text]], ("length",), dataset="birds")


def test_only_classes_exclude_each_other():
    assert Task("binary", ("ant", "bee")).is_single_class
    assert not Task("multilabel", ("ant", "bee")).is_single_class
    assert Task("regression", ("length",)).n_outputs == 1
