"""Nearest neighbors: scikit-learn's answers, whatever the blocks and the ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from tl_pipeline.errors import ConfigError, FeatureShapeError
from tl_pipeline.heads import neighbors as blocks
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.knn import predict_from_neighbors
from tl_pipeline.heads.neighbors import find_neighbors
from tl_pipeline.heads.preparation import Preparation, Steps
from tl_pipeline.tasks import Task


def make_rows(n: int = 80, width: int = 7, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, width)) + 0.3
    return rows.astype(np.float32)


def make_head(task: Task, targets: np.ndarray, **asked) -> Head:
    return Head(
        kind="knn",
        feature="f",
        task=task,
        settings={
            "k": 5,
            "metric": "cosine",
            "weighting": "uniform",
            "temperature": 0.07,
            "task": task.kind,
            "n_outputs": task.n_outputs,
        }
        | asked,
        preparation=Preparation(Steps(standardize=False), None),
        arrays={"rows": make_rows(), "targets": targets},
    )


def dino(distances: np.ndarray) -> np.ndarray:
    return np.exp((1 - distances) / 0.07)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("weighting", ["uniform", "distance", "similarity"])
def test_a_head_answers_as_scikit_learn_does(metric, weighting):
    rows, queries = make_rows(), np.concatenate([make_rows(9, seed=1), make_rows()[:2]])
    targets = np.arange(80) % 3
    numbers = np.random.default_rng(2).normal(size=(80, 2)).astype(np.float32)
    asked = {"metric": metric, "weighting": weighting}
    oracle = {
        "n_neighbors": 5,
        "metric": metric,
        "weights": dino if weighting == "similarity" else weighting,
        "algorithm": "brute",
    }
    rows64, queries64 = rows.astype(np.float64), queries.astype(np.float64)
    head = make_head(Task("multiclass", ("a", "b", "c")), targets, **asked)
    saved = Head.from_arrays(head.to_json(), load(save(head.to_arrays())))
    expected = KNeighborsClassifier(**oracle).fit(rows64, targets)
    if weighting == "distance":  # its distance of a row to itself is not quite 0
        queries, queries64 = queries[:9], queries64[:9]
    np.testing.assert_allclose(
        saved.predict(queries), expected.predict_proba(queries64), atol=1e-5
    )
    head = make_head(Task("regression", ("x", "y")), numbers, **asked)
    expected = KNeighborsRegressor(**oracle).fit(rows64, numbers)
    np.testing.assert_allclose(
        head.predict(queries), expected.predict(queries64), atol=1e-5
    )


def test_a_row_at_distance_zero_decides_alone_by_distance():
    targets = np.arange(80) % 2
    head = make_head(
        Task("binary", ("no", "yes")), targets, weighting="distance", metric="euclidean"
    )
    found = head.predict(make_rows())
    np.testing.assert_allclose(found, np.eye(2)[targets], atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_nearest_are_those_of_a_full_sort_and_ties_go_to_the_first(data):
    n, width = data.draw(st.integers(2, 30)), data.draw(st.integers(1, 3))
    numbers = st.lists(st.integers(-2, 2), min_size=n * width, max_size=n * width)
    rows = np.array(data.draw(numbers), np.float16).reshape(n, width)
    k, block = data.draw(st.integers(1, n)), data.draw(st.integers(1, 8))
    leave_out = data.draw(st.booleans())
    squares = np.square(rows[:, None].astype(float) - rows[None]).sum(axis=2)
    if leave_out:
        np.fill_diagonal(squares, np.inf)
        k = min(k, n - 1)
    expected = np.argsort(squares, axis=1, kind="stable")[:, :k]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_ROWS", block)
        patch.setattr(blocks, "_QUERIES", block)
        found = find_neighbors(
            rows, None if leave_out else rows, k=k, metric="euclidean"
        )
    np.testing.assert_array_equal(found.rows, expected)
    np.testing.assert_allclose(
        found.distances**2, np.take_along_axis(squares, expected, axis=1), atol=1e-12
    )


def test_several_k_come_from_one_search_left_one_out():
    rows, targets = make_rows(), np.arange(80) % 4
    search = find_neighbors(rows, k=20)
    for k in (1, 7, 20):
        found = predict_from_neighbors(
            search.take(k), targets, kind="multiclass", n_outputs=4
        )
        for row in (0, 41):
            kept = np.arange(80) != row
            alone = find_neighbors(rows[kept], rows[[row]], k=k)
            expected = predict_from_neighbors(
                alone, targets[kept], kind="multiclass", n_outputs=4
            )
            np.testing.assert_allclose(found[row], expected[0], atol=1e-12)


def test_a_missing_label_has_no_vote():
    rows = make_rows()
    labels = (np.arange(160).reshape(80, 2) % 3 == 0).astype(np.float32)
    head = make_head(Task("multilabel", ("a", "b")), labels)
    search = find_neighbors(rows, rows, k=5)
    expected = labels[search.rows].mean(axis=1)
    np.testing.assert_allclose(head.predict(rows), expected, atol=1e-9)
    labels[search.rows[0, 0], 0] = np.nan
    labels[search.rows[1], 1] = np.nan
    found = head.predict(rows)
    np.testing.assert_allclose(found[0, 0], labels[search.rows[0, 1:], 0].mean())
    np.testing.assert_allclose(found[1, 1], np.nanmean(labels[:, 1]))


def test_a_row_of_weight_two_is_as_if_it_stood_there_twice():
    rows, targets = make_rows(6), np.array([0, 1, 1, 0, 1, 2])
    weights = np.array([1, 2, 1, 0, 1, 1.0])
    twice = [0, 1, 1, 2, 4, 5]
    everything = find_neighbors(rows, rows, k=6)
    found = predict_from_neighbors(
        everything, targets, kind="multiclass", n_outputs=3, sample_weight=weights
    )
    repeated = find_neighbors(rows[twice], rows, k=6)
    expected = predict_from_neighbors(
        repeated, targets[twice], kind="multiclass", n_outputs=3
    )
    np.testing.assert_allclose(found, expected)


def test_constant_rows_and_rows_of_zeros_have_neighbors():
    rows = np.zeros((4, 3), np.float16)
    found = find_neighbors(rows, k=9)
    assert found.rows.tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    np.testing.assert_array_equal(found.distances, 1)


def test_what_cannot_be_searched_is_said():
    with pytest.raises(ConfigError, match="Asked for 0 neighbors"):
        find_neighbors(make_rows(), k=0)
    with pytest.raises(FeatureShapeError, match="one is left out"):
        find_neighbors(make_rows(1), k=1)
    with pytest.raises(FeatureShapeError, match="of the same width"):
        make_head(Task("binary", ("n", "y")), np.arange(80) % 2).predict(
            np.ones((2, 3))
        )
    search = find_neighbors(make_rows(), k=1)
    asked = {"kind": "binary", "n_outputs": 2}
    with pytest.raises(ConfigError, match="weighted by 'rank'; known are uniform"):
        predict_from_neighbors(search, np.ones(80, int), weighting="rank", **asked)
    with pytest.raises(ConfigError, match="temperature 0"):
        predict_from_neighbors(search, np.ones(80, int), temperature=0, **asked)
