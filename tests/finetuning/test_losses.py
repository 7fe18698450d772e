"""Losses of labels and numbers beside references, with targets missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from tl_pipeline.finetuning.losses import batch_loss, mean_loss
from tl_pipeline.tasks import Loss

RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(size=(20, 3)).astype(np.float32)
WEIGHT = RNG.uniform(0, 2, 20).astype(np.float32)
MISSING = RNG.random((20, 3)) < 0.3
NUMBERS = RNG.normal(size=(20, 3))


def targets_of(loss: Loss) -> np.ndarray:
    if loss == "softmax":
        return np.eye(3, dtype=np.float32)[NUMBERS.argmax(axis=1)]
    targets = NUMBERS if loss == "squared" else NUMBERS > 0
    return np.where(MISSING, np.nan, targets).astype(np.float32)


def loss_of(
    loss: Loss, outputs: np.ndarray | jax.Array, *, weight=WEIGHT, smoothing=0.0
) -> jax.Array:
    return batch_loss(
        loss,
        jnp.asarray(outputs),
        jnp.asarray(targets_of(loss)),
        jnp.asarray(weight),
        smoothing=smoothing,
    )


@pytest.mark.parametrize("loss", ["sigmoid", "squared"])
def test_a_mean_is_over_what_is_known(loss: Loss):
    targets, known = targets_of(loss), ~MISSING
    told, truth = OUTPUTS[known].astype(np.float64), targets[known]
    weights = np.broadcast_to(WEIGHT[:, None], (20, 3))[known]

    def reference(weights: np.ndarray | None) -> float:
        if loss == "squared":
            return mean_squared_error(truth, told, sample_weight=weights)
        return log_loss(truth, 1 / (1 + np.exp(-told)), sample_weight=weights)

    assert mean_loss(loss, OUTPUTS, targets) == pytest.approx(reference(None))
    assert float(loss_of(loss, OUTPUTS)) == pytest.approx(reference(weights), rel=1e-5)


@pytest.mark.parametrize("loss", ["sigmoid", "squared"])
def test_what_is_missing_has_no_gradient_and_spoils_none(loss: Loss):
    slope = jax.grad(lambda outputs: loss_of(loss, outputs))(jnp.asarray(OUTPUTS))
    assert np.isfinite(slope).all()
    assert ((np.asarray(slope) == 0) == MISSING).all()


def test_of_classes_both_are_the_cross_entropy():
    targets, exact = targets_of("softmax"), OUTPUTS.astype(np.float64)
    shares = np.exp(exact) / np.exp(exact).sum(axis=1, keepdims=True)
    wanted = log_loss(targets.argmax(axis=1), shares)
    assert mean_loss("softmax", OUTPUTS, targets) == pytest.approx(wanted)
    even = loss_of("softmax", OUTPUTS, weight=np.ones(20, np.float32))
    assert float(even) == pytest.approx(wanted, rel=1e-5)


def test_labels_are_smoothed_towards_half():
    known = ~MISSING
    chances = 1 / (1 + np.exp(-OUTPUTS[known].astype(np.float64)))
    truth = targets_of("sigmoid")[known]
    aimed = 0.9 * truth + 0.1 * (1 - truth)
    wanted = -(aimed * np.log(chances) + (1 - aimed) * np.log(1 - chances)).mean()
    even = loss_of("sigmoid", OUTPUTS, weight=np.ones(20, np.float32), smoothing=0.2)
    assert float(even) == pytest.approx(wanted, rel=1e-5)
