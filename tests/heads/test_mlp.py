"""Gradient-trained heads: their optimum, their company, and how they end."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tl_pipeline.errors import ConfigError, DatasetError, TrainingError
from tl_pipeline.heads import device_memory, lanes
from tl_pipeline.heads.attention import fit_attention
from tl_pipeline.heads.linear import fit_linear
from tl_pipeline.heads.minibatches import ArrayBatches
from tl_pipeline.heads.mlp import MlpHeads, fit_mlp
from tl_pipeline.heads.network import Layers, outputs_of
from tl_pipeline.heads.outputs import KINDS
from tl_pipeline.heads.presets import PRESETS
from tl_pipeline.heads.settings import AttentionSettings, MlpSettings
from tl_pipeline.tasks import Task

THREE = Task("multiclass", ("a", "b", "c"))


def blobs(n: int = 240, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n)
    features = 1.2 * rng.normal(size=(3, width))[targets] + rng.normal(size=(n, width))
    return features.astype(np.float32), targets


def corners(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Exclusive or: no line separates it."""
    features = np.random.default_rng(1).uniform(-1, 1, (n, 2)).astype(np.float32)
    return features, (features[:, 0] * features[:, 1] > 0).astype(np.int64)


def outputs(heads: MlpHeads, head: int, rows: np.ndarray) -> np.ndarray:
    kind = "attention" if "query" in heads.arrays[head] else "mlp"
    return KINDS[kind][0](heads.arrays[head], heads.settings_of(head), rows)


def test_without_hidden_layers_it_reaches_the_optimum_of_the_linear_head():
    features, targets = blobs()
    settings = MlpSettings(
        hidden=(),
        optimizer="sgd",  # without decoupled decay: the penalty is in the objective
        optimizer_arguments={"momentum": 0.9},
        weight_decay=0.01,
        learning_rate=0.5,
        schedule="cosine_decay_schedule",
        batch_size=240,
        epochs=300,
        patience=None,
    )
    heads = fit_mlp(features, targets, THREE, settings=[settings])
    expected = fit_linear(features, targets, n_classes=3, l2=[0.01])
    np.testing.assert_allclose(
        heads.arrays[0]["kernel_0"], expected.kernel[0], atol=1e-3
    )


def test_exclusive_or_is_learned_with_a_hidden_layer_only():
    features, targets = corners(600)
    unseen, truth = corners(1000)
    shared = MlpSettings(learning_rate=0.02, epochs=60, batch_size=64)
    heads = fit_mlp(
        features,
        targets,
        Task("binary", ("no", "yes")),
        settings=[replace(shared, hidden=(16,)), replace(shared, hidden=())],
    )
    right = [np.mean((outputs(heads, m, unseen)[:, 0] > 0) == truth) for m in (0, 1)]
    assert right[0] > 0.95 and right[1] < 0.65


def test_a_head_beside_others_equals_one_alone_and_the_same_seed_gives_the_same_bytes():
    features, targets = blobs()
    fold = np.arange(240) % 2 == 0
    settings = [
        MlpSettings(hidden=(8,), epochs=6, dropout_hidden=0.3, seed=seed)
        for seed in (1, 2, 3)
    ]
    weights = np.stack([np.ones(240), fold, ~fold])
    together = fit_mlp(
        features, targets, THREE, settings=settings, sample_weight=weights
    )
    again = fit_mlp(features, targets, THREE, settings=settings, sample_weight=weights)
    alone = fit_mlp(
        features, targets, THREE, settings=settings[2:], sample_weight=weights[2]
    )
    for name, array in together.arrays[2].items():
        assert array.tobytes() == again.arrays[2][name].tobytes()
        np.testing.assert_allclose(array, alone.arrays[0][name], atol=1e-5)
        assert name[0] == "b" or not np.allclose(array, together.arrays[1][name])


def test_minibatches_give_what_the_array_gives():
    features, targets = blobs()
    settings = [
        MlpSettings(hidden=(8,), epochs=5, batch_size=64, dropout_inputs=0.2, seed=seed)
        for seed in (1, 2)
    ]
    resident = fit_mlp(features, targets, THREE, settings=settings, seed=3)
    batches = ArrayBatches(features, batch_size=64)
    streamed = fit_mlp(batches, targets, THREE, settings=settings, seed=3)
    np.testing.assert_allclose(resident.loss, streamed.loss, rtol=1e-5)
    for name, array in resident.arrays[1].items():
        np.testing.assert_allclose(array, streamed.arrays[1][name], atol=1e-5)
    other = fit_mlp(features, targets, THREE, settings=settings, seed=4)
    assert not np.allclose(other.arrays[1]["kernel_0"], resident.arrays[1]["kernel_0"])


def test_rows_that_do_not_fit_on_the_device_are_streamed_to_the_same_end(monkeypatch):
    features, targets = blobs()
    settings = [
        MlpSettings(hidden=(8,), epochs=4, batch_size=50, dropout_hidden=0.2, seed=seed)
        for seed in (0, 1)
    ]
    resident = fit_mlp(features, targets, THREE, settings=settings)
    monkeypatch.setattr(device_memory, "free_bytes", lambda: features.nbytes)
    monkeypatch.setattr(lanes.ResidentRows, "__init__", None)
    streamed = fit_mlp(features, targets, THREE, settings=settings)
    for ours, theirs in zip(streamed.arrays, resident.arrays, strict=True):
        for name, array in ours.items():
            np.testing.assert_allclose(array, theirs[name], atol=1e-5)
    np.testing.assert_array_equal(streamed.best_epoch, resident.best_epoch)


def test_exhausted_memory_is_told_in_one_sentence():
    def exhaust() -> None:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    with (
        pytest.raises(TrainingError, match="9 heads .* fewer hidden units"),
        device_memory.telling_exhaustion("9 heads on 3 rows"),
    ):
        exhaust()
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"),
        device_memory.telling_exhaustion("9 heads on 3 rows"),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")


@pytest.mark.parametrize("patience", [2, 40])
def test_finished_heads_leave_and_the_best_epoch_is_kept(patience, monkeypatch):
    features, targets = blobs()
    targets = np.random.default_rng(5).permutation(targets)  # nothing to be learned
    val = features[200:], targets[200:]
    shared = MlpSettings(hidden=(16,), epochs=40, batch_size=32, patience=patience)
    settings = [replace(shared, learning_rate=rate) for rate in (3e-1, 3e-2, 1e-5)]

    def train() -> MlpHeads:
        return fit_mlp(features[:200], targets[:200], THREE, settings=settings, val=val)

    heads = train()
    expected = np.minimum(heads.best_epoch + patience, 40)
    assert heads.epochs.tolist() == expected.tolist()
    assert heads.best_epoch[0] < heads.best_epoch[2]
    for head in range(3):
        logits = outputs(heads, head, val[0])
        own = logits[np.arange(40), val[1]]
        loss = np.mean(np.log(np.exp(logits).sum(axis=1)) - own)
        np.testing.assert_allclose(heads.loss[head], loss, rtol=1e-5)
    monkeypatch.setattr(lanes, "SEGMENT", 3)  # whoever leaves when, all end the same
    np.testing.assert_allclose(train().loss, heads.loss, rtol=1e-5)


def test_a_head_whose_loss_is_not_finite_fails_alone():
    features, targets = blobs()
    good = MlpSettings(hidden=(4,), epochs=3, optimizer="sgd", learning_rate=0.1)
    bad = replace(good, learning_rate=1e30)
    heads = fit_mlp(features, targets, THREE, settings=[bad, good])
    assert heads.failed.tolist() == [True, False]
    alone = fit_mlp(features, targets, THREE, settings=[good])
    np.testing.assert_allclose(heads.loss[1], alone.loss[0], rtol=1e-5)
    with pytest.raises(TrainingError, match=r"2 heads .* learning rates \[1e\+30\]"):
        fit_mlp(features, targets, THREE, settings=[bad, bad])


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("queries", [0, 2])
def test_the_answer_in_numpy_equals_the_one_in_jax(activation, queries):
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(30, 2, 2, 6)).astype(np.float32)
    targets = rng.integers(0, 3, 30)
    shared = {"hidden": (7,), "activation": activation, "epochs": 2}
    if queries:
        settings = AttentionSettings(queries=queries, **shared)
        heads = fit_attention(grid, targets, THREE, settings=[settings])
    else:
        heads = fit_mlp(grid, targets, THREE, settings=[MlpSettings(**shared)])
    rows = grid.reshape(30, 4, 6) if queries else grid.reshape(30, -1)
    layers = Layers(rows.shape[-1], queries, (7,), activation, 3, False, False)
    arrays = {
        name: jnp.asarray(array.T if name.startswith("kernel") else array)
        for name, array in heads.arrays[0].items()
    }
    expected = outputs_of(layers, arrays, jnp.asarray(rows)).T
    np.testing.assert_allclose(outputs(heads, 0, grid), expected, atol=1e-5)
    assert outputs(heads, 0, grid[:0]).shape == (0, 3)


def test_attention_finds_the_token_that_tells_and_an_average_does_not():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(600, 9, 8)).astype(np.float32)
    targets = rng.integers(0, 3, 600)
    place = rng.integers(0, 9, 600)
    tokens[np.arange(600), place] = 0
    tokens[np.arange(600), place, targets] = 2
    tokens[np.arange(600), place, 7] = 8  # the mark to look for
    shared = {"hidden": (), "learning_rate": 0.03, "epochs": 60}
    weighed = fit_attention(
        tokens[:400], targets[:400], THREE, settings=[AttentionSettings(**shared)]
    )
    averaged = fit_mlp(
        tokens[:400].mean(axis=1),
        targets[:400],
        THREE,
        settings=[MlpSettings(**shared)],
    )
    right = outputs(weighed, 0, tokens[400:]).argmax(axis=1) == targets[400:]
    usual = outputs(averaged, 0, tokens[400:].mean(axis=1)).argmax(axis=1)
    assert right.mean() > np.mean(usual == targets[400:]) + 0.1


def test_missing_numbers_and_labels_are_ignored_and_numbers_keep_their_units():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3)).astype(np.float32)
    numbers = (1000 + features @ [[50.0, 0], [0, 0.02], [0, 0]]).astype(np.float32)
    numbers[:150, 1] = np.nan
    settings = [
        MlpSettings(
            hidden=(),
            learning_rate=0.05,
            schedule="cosine_decay_schedule",
            batch_size=64,
            patience=None,
        )
    ]
    task = Task("regression", ("large", "small"))
    heads = fit_mlp(features, numbers, task, settings=settings)
    found = outputs(heads, 0, features)
    np.testing.assert_allclose(found[:, 0], numbers[:, 0], atol=2)
    np.testing.assert_allclose(found[150:, 1], numbers[150:, 1], atol=0.002)

    labels = (features[:, :2] > 0).astype(np.float32)
    labels[::2, 0] = np.nan
    task = Task("multilabel", ("left", "right"))
    heads = fit_mlp(features, labels, task, settings=settings)
    right = (outputs(heads, 0, features) > 0) == (features[:, :2] > 0)
    assert right.mean() > 0.97


def test_groups_are_held_out_whole():
    # Each group is one row many times: its labels are learned by heart where a copy
    # was trained on, and cannot be where all copies are held out.
    rng = np.random.default_rng(0)
    group = np.arange(200) // 10
    features = rng.normal(size=(20, 40)).astype(np.float32)[group]
    targets = rng.integers(0, 3, 20)[group]
    settings = [MlpSettings(hidden=(32,), epochs=30, learning_rate=0.01)]
    apart = fit_mlp(
        features, targets, THREE, settings=settings, groups=list(map(str, group))
    )
    mixed = fit_mlp(features, targets, THREE, settings=settings)
    assert mixed.loss[0] < 0.1 < 0.7 < apart.loss[0]


def test_a_heavier_class_is_predicted_more_often():
    features, targets = corners(300)
    task = Task("binary", ("no", "yes"))
    settings = [MlpSettings(hidden=(), epochs=10, learning_rate=0.05)]

    def share(class_weight) -> float:
        heads = fit_mlp(
            features, targets, task, settings=settings, class_weight=class_weight
        )
        return float(np.mean(outputs(heads, 0, features) > 0))

    assert share([1, 9]) == 1 and share([9, 1]) == 0
    assert 0 < share("balanced") < 1


def test_an_absent_class_many_classes_and_constant_features_work():
    features, targets = blobs(60, width=100)  # more features than rows
    features[:, 0] = 1
    many = Task("multiclass", tuple(map(str, range(10_000))))
    settings = [MlpSettings(hidden=(4,), epochs=10, label_smoothing=0.1)]
    heads = fit_mlp(features, targets, many, settings=settings)
    logits = outputs(heads, 0, features)
    assert logits.shape == (60, 10_000) and np.isfinite(logits).all()
    present = targets != 2
    heads = fit_mlp(
        features, targets, THREE, settings=settings * 2, sample_weight=[present] * 2
    )
    assert np.isfinite(heads.loss).all()


def test_what_cannot_be_trained_is_said_in_one_sentence():
    features, targets = blobs()
    with pytest.raises(ConfigError, match="'adamx'; known of Optax are .* adamw, "):
        fit_mlp(features, targets, THREE, settings=[MlpSettings(optimizer="adamx")])
    with pytest.raises(ConfigError, match="'cosine'; known .* cosine_decay_schedule"):
        fit_mlp(features, targets, THREE, settings=[MlpSettings(schedule="cosine")])
    with pytest.raises(ConfigError, match="'b9'.* It takes learning_rate, b1"):
        settings = MlpSettings(optimizer_arguments={"b9": 1})
        fit_mlp(features, targets, THREE, settings=[settings])
    with pytest.raises(ConfigError, match=r"dropout_hidden = 1\.0: .*below 1"):
        MlpSettings(dropout_hidden=1.0)
    with pytest.raises(DatasetError, match="3 classes, found targets from 0 to 3"):
        fit_mlp(features, targets + (targets == 2), THREE, settings=[MlpSettings()])
    with pytest.raises(TrainingError, match="240 rows, of which some hold"):
        fit_mlp(features * np.inf, targets, THREE, settings=[MlpSettings()])


def test_the_presets_are_trained_by_name():
    features, targets = blobs()
    for name, units in (("dense512", 512), ("dense128", 128)):
        settings = replace(PRESETS[name].settings, epochs=2)
        heads = fit_mlp(features, targets, THREE, settings=[settings])
        assert heads.arrays[0]["kernel_0"].shape == (6, units)
