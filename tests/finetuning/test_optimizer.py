"""The optimizer: rates by depth, decay of kernels alone, batches gathered."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tl_pipeline.config import make_finetune_config
from tl_pipeline.finetuning.optimizer import make_optimizer
from tl_pipeline.finetuning.partition import BIAS, KERNEL

DEPTHS = {KERNEL: 0, BIAS: 0, "top": 1, "vector": 1, "low": 3}
START = {
    KERNEL: jnp.ones((2, 2)),
    BIAS: jnp.ones(2),
    "top": jnp.ones((2, 2)),
    "vector": jnp.ones(2),
    "low": jnp.ones((2, 2)),
}
SETTINGS = {
    "learning_rate": 0.01,
    "head_learning_rate": 0.1,
    "layer_decay": 0.5,
    "warmup": 0.0,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
}


def update(gradient, *, times=1, **changed):
    config = make_finetune_config(SETTINGS | changed)
    optimizer = make_optimizer(config, DEPTHS, n_steps=100)
    state, values = optimizer.init(START), START
    for _ in range(times):
        moves, state = optimizer.update(gradient, state, values)
        values = optax.apply_updates(values, moves)
    return {name: np.asarray(1 - x) for name, x in values.items()}


def ones():
    return jax.tree.map(jnp.ones_like, START)


def test_the_rate_falls_with_depth():
    moved = update(ones())
    # Adam's first step is the rate itself.
    np.testing.assert_allclose(moved[KERNEL], 0.1, rtol=1e-4)
    np.testing.assert_allclose(moved["top"], 0.01, rtol=1e-4)
    np.testing.assert_allclose(moved["low"], 0.01 * 0.5**2, rtol=1e-4)


def test_weight_decay_draws_kernels_and_no_vectors():
    still = jax.tree.map(jnp.zeros_like, START)
    moved = update(still, weight_decay=0.1)
    np.testing.assert_allclose(moved["top"], 0.01 * 0.1, rtol=1e-4)
    assert not moved["vector"].any() and not moved[BIAS].any()


def test_gathered_batches_make_one_update_of_their_mean():
    once = update(ones(), gradient_accumulation=3, times=2)
    assert all(not move.any() for move in once.values())
    moved = update(ones(), gradient_accumulation=3, times=3)
    np.testing.assert_allclose(moved["top"], update(ones())["top"], rtol=1e-5)


def test_the_rate_rises_over_the_warm_up():
    first = update(ones(), warmup=0.5)
    assert not first["top"].any()
    later = update(ones(), warmup=0.5, times=3)["top"]
    np.testing.assert_allclose(later, 0.01 * (1 + 2) / 50, rtol=1e-3)
