"""The compiled functions of a fine-tuning: one update, and what the network says."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.finetuning.losses import batch_loss
from tl_pipeline.finetuning.partition import BIAS, KERNEL
from tl_pipeline.tasks import Loss

Arrays = Mapping[str, Any]
# Parameters by name, inputs [B, ...] -> float32 features, in order.
Apply = Callable[[Arrays, jax.Array], list[jax.Array]]
# A batch as it is kept, or as it was augmented -> a network's inputs, float32.
Prepare = Callable[[jax.Array], jax.Array]


class Updated(NamedTuple):
    """What an update leaves."""

    trained: Arrays
    optimizer: Any
    loss: jax.Array  # of the batch, before the update
    norm: jax.Array  # of the gradient, before it is clipped


def make_update(
    apply: Apply,
    prepare: Prepare,
    optimizer: optax.GradientTransformation,
    config: FinetuneConfig,
    *,
    loss: Loss,
) -> Callable[..., Updated]:
    """Makes the update of the trained parameters by one batch.

    It takes the trained parameters, the optimizer's state, the frozen parameters,
    inputs [B, ...], targets [B, K], weights [B] and the step's number, of which its
    keys are a function. Gradients are taken of the trained parameters alone.
    """

    def measure_loss(
        trained: Arrays,
        frozen: Arrays,
        inputs: jax.Array,
        targets: jax.Array,
        weight: jax.Array,
        key: jax.Array,
    ) -> jax.Array:
        rows = compute_rows(apply, {**frozen, **trained}, inputs, config.compute_dtype)
        if config.head_dropout:
            kept = jax.random.bernoulli(key, 1 - config.head_dropout, rows.shape)
            rows = rows * kept / (1 - config.head_dropout)
        logits = rows @ trained[KERNEL] + trained[BIAS].reshape(1, -1)
        return batch_loss(
            loss, logits, targets, weight, smoothing=config.label_smoothing
        )

    def update(
        trained: Arrays,
        state: Any,
        frozen: Arrays,
        inputs: jax.Array,
        targets: jax.Array,
        weight: jax.Array,
        step: jax.Array,
    ) -> Updated:
        key = jax.random.fold_in(jax.random.key(config.seed), step)
        value, gradient = jax.value_and_grad(measure_loss)(
            trained, frozen, prepare(inputs), targets, weight, key
        )
        updates, state = optimizer.update(gradient, state, trained)
        moved: Any = optax.apply_updates(dict(trained), updates)
        return Updated(moved, state, value, optax.tree.norm(gradient))

    return jax.jit(update)


def make_predict(
    apply: Apply, prepare: Prepare, config: FinetuneConfig
) -> Callable[[Arrays, jax.Array], jax.Array]:
    """Makes the function from parameters and inputs to float32 outputs [B, K]."""

    def predict(parameters: Arrays, inputs: jax.Array) -> jax.Array:
        taken = prepare(inputs)
        rows = compute_rows(apply, parameters, taken, config.compute_dtype)
        return rows @ parameters[KERNEL] + parameters[BIAS].reshape(1, -1)

    return jax.jit(predict)


def compute_rows(
    apply: Apply, parameters: Arrays, inputs: Any, dtype: str
) -> jax.Array:
    """Returns the features of a batch, flattened and joined: [B, D] float32.

    The network computes in `dtype`; its parameters and their gradients are float32.
    """
    cast = {
        name: array.astype(dtype)
        for name, array in parameters.items()
        if name not in (KERNEL, BIAS)
    }
    with jax.default_matmul_precision("highest"):
        found = apply(cast, jax.tree.map(lambda x: _cast(x, dtype), inputs))
    return jnp.concatenate([rows.reshape(len(rows), -1) for rows in found], axis=1)


def _cast(x: jax.Array, dtype: str) -> jax.Array:
    """Returns floats in the dtype; token ids stay."""
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x
