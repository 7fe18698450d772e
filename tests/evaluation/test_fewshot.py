"""Parts of a dataset: proportions, stability, nesting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_pipeline.errors import ConfigError
from tl_pipeline.evaluation.fewshot import k_shot_rows, stratified_part


def digests(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32), dtype=np.uint8)


@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=60),
    st.integers(1, 70),
)
def test_a_part_has_the_size_and_the_proportions_asked_for(targets, n):
    rows = stratified_part(targets, digests(len(targets)), n)
    labeled = [target for target in targets if target is not None]
    assert len(rows) == min(n, len(labeled))
    assert rows.tolist() == sorted(set(rows.tolist()))
    chosen = [targets[row] for row in rows]
    assert None not in chosen
    for name in set(labeled):
        exact = len(rows) * labeled.count(name) / len(labeled)
        assert abs(chosen.count(name) - exact) < 2
        assert chosen.count(name) >= (n >= len(set(labeled)))


def test_a_rare_class_is_in_every_part_that_has_room():
    targets = ["common"] * 1000 + ["rare"]
    assert 1000 in stratified_part(targets, digests(1001), 10)


def test_a_part_hardly_changes_as_the_dataset_grows_and_never_with_its_order():
    targets = ["a", "b"] * 500
    content = digests(1000)
    part = {content[row].tobytes() for row in stratified_part(targets, content, 200)}
    order = np.random.default_rng(1).permutation(1000)
    shuffled = stratified_part([targets[i] for i in order], content[order], 200)
    assert {content[order][row].tobytes() for row in shuffled} == part
    grown = np.concatenate([content, digests(10, seed=1)])
    rows = stratified_part([*targets, *"ab" * 5], grown, 200)
    assert len(part & {grown[row].tobytes() for row in rows}) >= 190


def test_k_shot_draws_k_of_each_class_and_more_of_the_same_for_a_larger_k():
    targets = np.repeat([0, 1, 3], [50, 2, 20])
    draws = [
        k_shot_rows(targets, k, rng=np.random.default_rng(7)).tolist()
        for k in (1, 5, 50)
    ]
    assert np.bincount(targets[draws[1]]).tolist() == [5, 2, 0, 5]
    assert set(draws[0]) < set(draws[1]) < set(draws[2]) == set(range(72))
    other = k_shot_rows(targets, 5, rng=np.random.default_rng(8))
    assert other.tolist() != draws[1]


def test_parts_of_nothing_are_refused():
    with pytest.raises(ConfigError, match="Asked for 0 examples a class"):
        k_shot_rows([0, 1], 0, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="part of 0 examples"):
        stratified_part(["a"], digests(1), 0)
