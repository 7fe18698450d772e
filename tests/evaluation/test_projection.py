import importlib.util
import sys

import numpy as np
import pytest

from tl_pipeline.errors import ConfigError, DatasetError
from tl_pipeline.evaluation.projection import METHODS, project

ROWS = np.random.default_rng(0).standard_normal((60, 7)) * [9, 3, 1, 1, 1, 1, 1]

# UMAP compiles itself for most of a minute whenever it is loaded.
DRAWN = [
    pytest.param(name, marks=pytest.mark.slow) if name == "umap" else name
    for name in METHODS
]


def need_package(method: str) -> None:
    """Skips where the extra that a method needs is not installed."""
    if method == "umap" and not importlib.util.find_spec("umap"):
        pytest.skip("umap-learn is not installed")


@pytest.mark.parametrize("method", DRAWN)
def test_the_same_rows_and_seed_give_the_same_points(method: str):
    need_package(method)
    first = project(ROWS, method=method, seed=3)
    np.testing.assert_array_equal(
        project(ROWS, method=method, seed=3).points, first.points
    )
    assert first.points.shape == (60, 2)
    assert np.isfinite(first.points).all()


def test_components_are_those_of_most_variance_and_say_how_much():
    found = project(ROWS, method="pca", seed=0)
    values = np.linalg.eigvalsh(np.cov(ROWS.T))[::-1]
    assert found.points.var(axis=0, ddof=1) == pytest.approx(values[:2], rel=1e-4)
    share = 100 * values[0] / values.sum()
    assert found.axes[0] == f"component 1, {share:.1f} % of variance"


@pytest.mark.parametrize("method", DRAWN[1:])
def test_clusters_stay_apart_in_neighborhoods(method: str):
    need_package(method)
    rows = ROWS + 100 * np.repeat(np.eye(3, 7), 20, axis=0)
    points = project(rows, method=method, seed=0).points
    groups = np.repeat(np.arange(3), 20)
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (groups[distance.argmin(axis=1)] == groups).all()


@pytest.mark.parametrize("method", DRAWN)
@pytest.mark.parametrize("rows", [ROWS[:3], ROWS[:4, :1], np.ones((5, 4))])
def test_few_flat_or_equal_rows_can_be_drawn(method: str, rows: np.ndarray):
    need_package(method)
    found = project(rows, method=method, seed=0)
    assert found.points.shape == (len(rows), 2)
    assert np.isfinite(found.points).all()


def test_two_rows_and_unknown_methods_are_refused():
    with pytest.raises(DatasetError, match="2 rows"):
        project(ROWS[:2], method="pca", seed=0)
    with pytest.raises(ConfigError, match="'mds'; known are pca, tsne, umap"):
        project(ROWS, method="mds", seed=0)


def test_an_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # as where it is not installed
    with pytest.raises(ConfigError, match=r"pip install 'tl-pipeline\[umap\]'"):
        project(ROWS, method="umap", seed=0)
