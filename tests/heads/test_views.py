"""Heads on several views of their rows."""

import numpy as np
import pytest

from tl_pipeline.errors import ConfigError, FeatureShapeError, TrainingError
from tl_pipeline.heads import device_memory, lanes
from tl_pipeline.heads.attention import fit_attention
from tl_pipeline.heads.fitting import fit_heads
from tl_pipeline.heads.linear import fit_linear
from tl_pipeline.heads.minibatches import ArrayBatches, draw_views, epoch_order
from tl_pipeline.heads.mlp import fit_mlp
from tl_pipeline.heads.settings import AttentionSettings, MlpSettings
from tl_pipeline.tasks import Task

TWO = Task("multiclass", ("a", "b"))
N = 60


def blobs(n_views: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = np.arange(N) % 2
    centers = rng.normal(size=(2, 6))[targets]
    rows = centers + rng.normal(size=(1 + n_views, N, 6))
    return rows[0].astype(np.float32), targets, rows[1:].astype(np.float32)


def test_each_epoch_draws_every_view_about_as_often_as_the_others():
    n, drawn = 50, []
    for epoch in range(200):
        rows = epoch_order(n, 8, seed=3, epoch=epoch)
        found = draw_views(rows, n, 3, seed=3, epoch=epoch)
        assert (found < 0).sum() == (rows < 0).sum()
        np.testing.assert_array_equal(found[rows >= 0] % n, rows[rows >= 0])
        drawn.append(found[rows >= 0][np.argsort(rows[rows >= 0])] // n)
    counts = np.bincount(np.concatenate(drawn), minlength=4)
    assert len(counts) == 4
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.02)
    assert len({tuple(one) for one in drawn}) == 200


def test_streamed_views_give_what_resident_ones_give(monkeypatch):
    features, targets, views = blobs(2)
    settings = [
        MlpSettings(hidden=(8,), epochs=4, batch_size=16, seed=seed) for seed in (0, 1)
    ]
    given = {"settings": settings, "views": views}
    resident = fit_mlp(features, targets, TWO, **given)
    plain = fit_mlp(features, targets, TWO, settings=settings)
    assert not np.allclose(plain.arrays[0]["kernel_0"], resident.arrays[0]["kernel_0"])
    monkeypatch.setattr(device_memory, "free_bytes", lambda: 2 * features.nbytes)
    monkeypatch.setattr(lanes.ResidentRows, "__init__", None)
    streamed = fit_mlp(features, targets, TWO, **given)
    for ours, theirs in zip(streamed.arrays, resident.arrays, strict=True):
        for name, array in ours.items():
            np.testing.assert_allclose(array, theirs[name], atol=1e-5)
    np.testing.assert_allclose(streamed.loss, resident.loss, rtol=1e-5)


def test_views_like_the_rows_change_nothing():
    features, targets, _ = blobs(0)
    settings = [MlpSettings(hidden=(4,), epochs=3, batch_size=16, dropout_inputs=0.2)]
    plain = fit_mlp(features, targets, TWO, settings=settings)
    same = fit_mlp(features, targets, TWO, settings=settings, views=features[None])
    for name, array in plain.arrays[0].items():
        np.testing.assert_array_equal(array, same.arrays[0][name])
    tokens = features.reshape(N, 2, 3)
    attending = [AttentionSettings(epochs=2, batch_size=16)]
    one = fit_attention(tokens, targets, TWO, settings=attending)
    two = fit_attention(tokens, targets, TWO, settings=attending, views=tokens[None])
    for name, array in one.arrays[0].items():
        np.testing.assert_array_equal(array, two.arrays[0][name])


def test_to_a_solver_views_are_rows_that_share_the_weight_of_their_example():
    features, targets, views = blobs(2)
    weight = np.random.default_rng(1).uniform(0.5, 2, (1, N))
    (found,) = fit_heads(
        "linear",
        features,
        targets,
        task=TWO,
        settings=[{"l2": 0.01}],
        weight=weight,
        views=views,
    )
    expected = fit_linear(
        np.concatenate([features, *views]),
        np.tile(targets, 3),
        n_classes=2,
        l2=[0.01],
        sample_weight=np.tile(weight / 3, (1, 3)),
    )
    np.testing.assert_allclose(found.arrays["kernel"], expected.kernel[0], atol=1e-5)
    assert found.settings["C"] == pytest.approx(1 / (0.01 * weight.sum()))


def test_views_that_do_not_fit_the_rows_are_refused():
    features, targets, views = blobs(2)
    settings = [MlpSettings(hidden=(4,), epochs=1)]
    with pytest.raises(FeatureShapeError, match="views of shape"):
        fit_mlp(features, targets, TWO, settings=settings, views=views[:, 1:])
    views[1, 3, 2] = np.nan
    with pytest.raises(TrainingError, match="not finite"):
        fit_mlp(features, targets, TWO, settings=settings, views=views)
    batches = ArrayBatches(features, batch_size=8)
    with pytest.raises(ConfigError, match="views of minibatches"):
        fit_mlp(batches, targets, TWO, settings=settings, views=views)
