import pytest

from tl_pipeline.errors import DatasetError
from tl_pipeline.evaluation.imagenet import _read_names, find_classes, say_unknown


def test_ids_numbers_and_names_are_the_same_classes():
    labels = ["n02206856", "309", "bee", "Bee", "n02219486", "ant", "Siberian_husky"]
    assert list(find_classes(labels).values()) == [309, 309, 309, 309, 310, 310, 250]
    assert find_classes(["ant, emmet, pismire"]) == {"ant, emmet, pismire": 310}


def test_every_class_has_its_id_and_its_number():
    known = _read_names()
    ids = sorted(name for name in known if name[0] == "n" and name[1:].isdigit())
    assert [known[name] for name in ids] == [(i,) for i in range(1000)]
    assert all(i in known[str(i)] for i in range(1000))


def test_labels_of_something_else_are_none_of_them():
    assert find_classes(["ants", "bees"]) == {}
    assert "(ants, bees)" in say_unknown(["bees", "ants", "bees"])


def test_a_label_that_is_none_among_those_that_are_is_named():
    with pytest.raises(DatasetError, match="of 3 labels; 1 are none: ants"):
        find_classes(["bee", "309", "ants"])


def test_a_name_of_two_classes_wants_a_number():
    with pytest.raises(DatasetError, match="crane is of two: numbers 134 and 517"):
        find_classes(["bee", "crane"])
