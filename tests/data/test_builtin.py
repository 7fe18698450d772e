import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tl_pipeline.data import builtin
from tl_pipeline.data.builtin import make_digits, make_shifted_digits
from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError


def pixels(dataset, item) -> np.ndarray:
    return np.asarray(decode_image(dataset.read(item)))


def test_digits_are_those_of_scikit_learn():
    bunch = load_digits()
    dataset = load_dataset("builtin:digits")
    assert dataset.name == "digits" and len(dataset) == 1797
    for item in dataset.items:
        row = int(item.id.split("/")[1])
        assert item.target == str(bunch.target[row]) == item.id.split("/")[0]
        wanted = np.rint(bunch.images[row] * 255 / 16)
        np.testing.assert_array_equal(pixels(dataset, item), wanted)


def test_shifted_digits_are_the_same_digits_at_places_all_over_the_canvas():
    plain = make_digits(range(5, 10), name="plain")
    shifted = load_dataset("builtin:digits-shifted")
    assert [item.id for item in shifted.items] == [item.id for item in plain.items]
    assert len(shifted) == 896
    inked = np.zeros((16, 16), bool)
    for small, large in zip(plain.items, shifted.items, strict=True):
        canvas, digit = pixels(shifted, large), pixels(plain, small)
        assert canvas.shape == (16, 16)
        windows = np.lib.stride_tricks.sliding_window_view(canvas, (8, 8))
        assert (windows == digit).all(axis=(2, 3)).any()
        assert canvas.sum() == digit.sum()
        inked |= canvas > 0
    assert inked[1:-1, 1:-1].all()  # a digit's own corners are always empty


def test_a_digits_place_does_not_depend_on_the_others_but_on_the_seed():
    some = make_shifted_digits([7], name="sevens")
    every = make_shifted_digits(range(10), name="all")
    other = make_shifted_digits([7], name="sevens", seed=1)
    by_id = {item.id: item for item in every.items}
    assert all(some.read(item) == every.read(by_id[item.id]) for item in some.items)
    same = [
        some.read(a) == other.read(b)
        for a, b in zip(some.items, other.items, strict=True)
    ]
    assert np.mean(same) < 0.1  # 1 in 81 by chance
    assert {a.member for a in some.items}.isdisjoint(b.member for b in other.items)


def test_bytes_stay_the_same_for_good():
    # A change of these is a change of RECIPE_VERSION, or old digests go on being used.
    digests = {}
    for name in ("digits", "digits-shifted"):
        dataset = load_dataset(f"builtin:{name}")
        data = b"".join(dataset.read(item) for item in dataset.items)
        digests[name] = hashlib.sha256(data).hexdigest()[:12]
    assert builtin.RECIPE_VERSION == 1
    assert digests == {"digits": "3e0d8fb39035", "digits-shifted": "18151279deb3"}


def test_a_missing_file_of_digits_gets_a_sentence(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="Install scikit-learn"):
        load_dataset("builtin:digits")


def test_items_name_the_file_that_they_come_from():
    (path,) = {item.path for item in load_dataset("builtin:digits").items}
    assert isinstance(path, Path)
    with gzip.open(path, "rt") as file:
        assert len(file.readlines()) == 1797
