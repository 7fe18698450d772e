"""Which columns of many layers matter: by ridge on all of them, and planted."""

import numpy as np
import pytest

from tl_pipeline.errors import TrainingError
from tl_pipeline.heads.relevance import draw_rows, keep_columns, score_columns
from tl_pipeline.heads.ridge import fit_ridge
from tl_pipeline.heads.standardize import apply_standardizer, fit_standardizer
from tl_pipeline.tasks import Task

THREE = Task("multiclass", ("a", "b", "c"))


def test_scores_are_the_norms_of_the_rows_of_one_ridge_kernel_on_all_layers():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 60)
    layers = [rng.normal(size=(60, 5)), 100 * rng.normal(size=(60, 90)) + 7]
    layers[0][:, 0] += targets
    weight = np.stack([np.ones(60), rng.uniform(0.2, 2, 60) * (np.arange(60) > 20)])
    found = score_columns(lambda: layers, targets, THREE, weight=weight)
    rows = np.concatenate(layers, axis=1)
    rows = apply_standardizer(fit_standardizer(rows), rows)
    for scores, own in zip(found, weight, strict=True):
        shares = own / own.sum()
        variance = (shares @ (rows - shares @ rows) ** 2).sum()
        strengths = variance * np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
        given = {"l2": strengths, "sample_weight": own}
        ridge = fit_ridge(rows, np.eye(3)[targets], **given)
        kernel = ridge.kernel[np.argmin(ridge.leave_one_out)]
        expected = np.linalg.norm(kernel, axis=1)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "regression"])
def test_planted_columns_are_found_in_any_layer_and_for_any_task(kind: str):
    rng = np.random.default_rng(1)
    layers = [rng.normal(size=(300, width)).astype(np.float16) for width in (40, 700)]
    signs = np.stack([layers[0][:, 3], layers[1][:, 650]], axis=1).astype(np.float64)
    targets = np.where(rng.random(signs.shape) < 0.1, np.nan, signs)
    if kind == "multilabel":
        targets = np.where(np.isnan(targets), np.nan, targets > 0)
    if kind == "multiclass":
        targets = (signs[:, 0] + signs[:, 1] > 0).astype(np.int64)
    task = Task(kind, ("a", "b"))  # type: ignore[arg-type]
    (scores,) = score_columns(lambda: layers, targets, task, weight=np.ones((1, 300)))
    assert keep_columns(scores, 2 / 740).tolist() == [3, 40 + 650]


def test_constant_columns_score_nothing_and_columns_that_are_not_finite_are_refused():
    rows = np.random.default_rng(2).normal(size=(30, 4))
    rows[:, 1] = 5
    targets, weight = np.arange(30) % 3, np.ones((1, 30))
    (scores,) = score_columns(lambda: [rows], targets, THREE, weight=weight)
    assert scores[1] == 0 and (np.delete(scores, 1) > 0).all()
    flat = np.ones((30, 2))
    assert not score_columns(lambda: [flat], targets, THREE, weight=weight).any()
    rows[3, 2] = np.inf
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(TrainingError, match="columns of 30 rows"),
    ):
        score_columns(lambda: [rows], targets, THREE, weight=weight)


def test_as_many_columns_are_kept_as_asked_and_one_at_least():
    scores = np.array([0.5, 0.5, 0.9, 0.1])
    assert keep_columns(scores, 0.01).tolist() == [2]
    assert keep_columns(scores, 0.5).tolist() == [0, 2]
    assert keep_columns(scores, 1.0).tolist() == [0, 1, 2, 3]


def test_the_rows_drawn_do_not_hang_on_their_order():
    content = np.random.default_rng(3).integers(0, 256, (50, 32), dtype=np.uint8)
    drawn = {content[row].tobytes() for row in draw_rows(content, 10)}
    turned = content[::-1]
    assert {turned[row].tobytes() for row in draw_rows(turned, 10)} == drawn
    assert draw_rows(content, 99).tolist() == list(range(50))
