"""An ensemble is one head: it says, saved too, what its members say on average."""

from typing import Any

import numpy as np
import pytest

from tl_pipeline.errors import FeatureShapeError
from tl_pipeline.heads.ensemble import make_ensemble
from tl_pipeline.heads.fitting import fit_heads
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.preparation import Steps, apply_preparation, fit_preparation
from tl_pipeline.tasks import Task

SHAPES = {"pool": (4,), "wide": (6,), "grid": (2, 3, 5)}


def fit(kind: str, feature: str, rows: np.ndarray, targets: Any, task: Task) -> Head:
    columns = None if rows.ndim > 2 or rows.shape[1] < 10 else np.array([1, 4, 7])
    preparation = fit_preparation(rows, Steps(), columns=columns)
    (fitted,) = fit_heads(
        kind,
        apply_preparation(preparation, rows),
        targets,
        task=task,
        settings=[{"l2": 0.1, "k": 3}],
        weight=np.ones((1, len(rows))),
    )
    about = fitted.settings, preparation, fitted.arrays
    return Head(fitted.kind, feature, task, *about)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel", "regression"])
def test_an_ensemble_says_the_weighted_average_and_is_saved_whole(kind: Any):
    rng = np.random.default_rng(0)
    task = Task(kind, ("a", "b", "c") if kind == "multiclass" else ("a", "b"))
    rows = {name: rng.normal(size=(50, *shape)) for name, shape in SHAPES.items()}
    targets: Any = np.arange(50) % len(task.names)
    if not task.is_single_class:
        targets = rng.integers(0, 2, (50, 2)).astype(np.float64)
    both = np.concatenate([rows["wide"], rows["pool"]], axis=1)
    members = [
        (fit("ridge", "pool", rows["pool"], targets, task), 1),
        (fit("ridge", "wide+pool", both, targets, task), 3),
        (fit("knn", "wide", rows["wide"], targets, task), 2),
    ]
    head = make_ensemble(members, shapes=SHAPES)
    assert head.feature == "pool+wide"
    joined = np.concatenate([rows["pool"], rows["wide"]], axis=1)
    given = (rows["pool"], both, rows["wide"])
    said = [h.predict(own) for (h, _), own in zip(members, given, strict=True)]
    expected = (said[0] + 3 * said[1] + 2 * said[2]) / 6
    np.testing.assert_allclose(head.predict(joined), expected, atol=1e-12)
    loaded = Head.from_arrays(head.to_json(), head.to_arrays())
    np.testing.assert_array_equal(loaded.predict(joined), head.predict(joined))
    assert loaded.predict(joined[:0]).shape == (0, len(task.names))
    with pytest.raises(FeatureShapeError, match="take 10 columns together"):
        head.predict(joined[:, :9])


def test_a_member_that_takes_grids_gets_grids():
    rng = np.random.default_rng(1)
    task = Task("binary", ("no", "yes"))
    grid, pool = rng.normal(size=(20, 2, 3, 5)), rng.normal(size=(20, 4))
    plain = fit("ridge", "pool", pool, np.arange(20) % 2, task)
    arrays = {
        "query": rng.normal(size=(2, 5)).astype(np.float32),
        "kernel_0": rng.normal(size=(10, 1)).astype(np.float32),
        "bias_0": np.zeros(1, np.float32),
    }
    attends = Head(
        "attention", "grid", task, {}, fit_preparation(grid, Steps()), arrays
    )
    head = make_ensemble([(plain, 1), (attends, 1)], shapes=SHAPES)
    joined = np.concatenate([pool, grid.reshape(20, -1)], axis=1)
    expected = (plain.predict(pool) + attends.predict(grid)) / 2
    np.testing.assert_allclose(head.predict(joined), expected, atol=1e-12)
    alone = make_ensemble([(attends, 1)], shapes=SHAPES)
    np.testing.assert_allclose(alone.predict(grid), attends.predict(grid), atol=1e-12)
