"""Folds: even, whole, present, and the same again when examples come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_pipeline.errors import ConfigError
from tl_pipeline.evaluation.folds import assign_folds


def digests(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)


@given(
    st.lists(st.integers(0, 4), min_size=6, max_size=80),
    st.integers(2, 6),
    st.integers(0, 100),
)
def test_every_class_of_two_examples_is_in_every_train_part(targets, n_folds, seed):
    targets = np.array(targets)
    folds = assign_folds(targets, digests(len(targets), seed), n_folds=n_folds)
    for name in np.unique(targets):
        held = np.bincount(folds[targets == name], minlength=n_folds)
        even = held.sum() / n_folds
        assert held.max() <= max(np.ceil(even), 1.25 * even)
        if held.sum() >= 2:
            assert held.max() < held.sum()


@given(st.lists(st.integers(0, 9), min_size=30, max_size=90), st.integers(0, 100))
def test_groups_and_twins_are_never_split(names, seed):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, len(names))
    content = digests(len(names), seed)
    content[1::3] = content[0]
    groups = [None if name > 6 else f"group {name}" for name in names]
    units = [
        content[row].tobytes() if group is None else group
        for row, group in enumerate(groups)
    ]
    n_folds = min(3, len(set(units)))
    if n_folds < 2:
        return
    folds = assign_folds(targets, content, n_folds=n_folds, groups=groups)
    for unit in set(units):
        assert len({folds[row] for row, own in enumerate(units) if own == unit}) == 1


def test_a_group_larger_than_a_fold_leaves_the_others_to_the_rest():
    targets = np.zeros(60, np.int64)
    groups = ["large"] * 40 + [None] * 20
    for seed in range(10):
        folds = assign_folds(targets, digests(60, seed), n_folds=3, groups=groups)
        counts = sorted(np.bincount(folds, minlength=3).tolist())
        assert counts[2] == 40
        assert counts[0] > 0


def test_folds_are_a_matter_of_the_digests_and_not_of_the_order():
    targets = np.arange(300) % 7
    content = digests(300)
    folds = assign_folds(targets, content, n_folds=5)
    order = np.random.default_rng(1).permutation(300)
    shuffled = assign_folds(targets[order], content[order], n_folds=5)
    np.testing.assert_array_equal(shuffled, folds[order])


def test_an_example_that_comes_moves_few_others():
    targets = np.random.default_rng(2).integers(0, 10, 2000)
    content = digests(2000)
    before = assign_folds(targets[:1980], content[:1980], n_folds=5)
    after = assign_folds(targets, content, n_folds=5)[:1980]
    # Twenty came; shuffling anew would move four in five of all.
    assert np.mean(before != after) < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_folds": 1}, "1 folds; there must be 2"),
        ({"n_folds": 5}, "5 folds of 4 examples, found 4"),
        ({"groups": ["one"] * 4}, "2 folds of 4 examples, found 1 .* fewer"),
    ],
)
def test_folds_that_cannot_be_get_one_sentence(change, message):
    with pytest.raises(ConfigError, match=message):
        assign_folds([0, 0, 1, 1], digests(4), **({"n_folds": 2} | change))
