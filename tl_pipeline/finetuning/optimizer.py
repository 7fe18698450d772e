"""The optimizer of a fine-tuning: AdamW whose rate falls from the head to the input."""

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from tl_pipeline.finetune_config import FinetuneConfig

_AT_ONCE: Mapping[str, int] = MappingProxyType({})


def make_optimizer(
    config: FinetuneConfig,
    depths: Mapping[str, int],
    *,
    n_steps: int,
    opens: Mapping[str, int] = _AT_ONCE,
) -> optax.GradientTransformation:
    """Makes the optimizer of the trained parameters alone.

    Their rate at depth d is `layer_decay ** d` of the schedule's: it rises over the
    warm-up and falls as a cosine to 0. Weight decay draws kernels to 0, not vectors.

    A parameter that is not open yet keeps every bit. Its momentum and its warm-up begin
    when it opens, and until then its gradient does not count in the norm that is
    clipped.

    Args:
      config: The settings.
      depths: By parameter, from `Partition`.
      n_steps: Batches in all epochs.
      opens: By parameter, the batches before it is trained; the same at each depth.
    """
    every = config.gradient_accumulation
    n_updates = max(1, n_steps // every)
    # An update that would take batches of before waits for the next.
    closed = {name: -(-step // every) for name, step in opens.items() if step}
    labels = {name: f"depth {depth}" for name, depth in depths.items()}
    labels |= {name: "head" for name, depth in depths.items() if depth == 0}

    def make_rate(label: str, after: int) -> optax.Schedule:
        n_left = max(1, n_updates - after)
        warm = min(round(config.warmup * n_left), n_left - 1)
        peak = config.head_learning_rate
        if label != "head":
            depth = int(label.split()[1])
            peak = config.learning_rate * config.layer_decay ** (depth - 1)
        return optax.warmup_cosine_decay_schedule(0.0, peak, warm, n_left)

    layers: dict[Hashable, optax.GradientTransformation] = {}
    for name, label in sorted(labels.items(), key=lambda pair: pair[1]):
        if label in layers:
            continue
        after = closed.get(name, 0)
        layer = optax.adamw(
            make_rate(label, after),
            weight_decay=config.weight_decay,
            mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree),
        )
        layers[label] = _begin_later(layer, after) if after else layer
    steps: list[optax.GradientTransformation] = [optax.partition(layers, labels)]
    if config.clip_norm:
        steps.insert(0, optax.clip_by_global_norm(config.clip_norm))
    if closed:
        steps.insert(0, _leave_out(closed))
    optimizer = optax.chain(*steps)
    if every == 1:
        return optimizer
    return optax.MultiSteps(optimizer, every).gradient_transformation()


def _begin_later(
    inner: optax.GradientTransformation, after: int
) -> optax.GradientTransformation:
    """Returns a transformation that moves nothing, its own state too, until then."""

    def init(params: Any) -> Any:
        return jnp.zeros([], jnp.int32), inner.init(params)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        count, held = state
        is_open = count >= after
        moves, moved = inner.update(updates, held, params)
        # Added to any number, minus 0 changes no bit of it; 0 would, of minus 0.
        moves = jax.tree.map(lambda x: jnp.where(is_open, x, -0.0), moves)
        held = jax.tree.map(lambda new, old: jnp.where(is_open, new, old), moved, held)
        return moves, (count + 1, held)

    return optax.GradientTransformation(init, update)


def _leave_out(closed: Mapping[str, int]) -> optax.GradientTransformation:
    """Returns a transformation that takes gradients of closed parameters for 0."""

    def init(params: Any) -> Any:
        return jnp.zeros([], jnp.int32)

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        kept = {
            name: jnp.where(state >= closed.get(name, 0), gradient, 0)
            for name, gradient in updates.items()
        }
        return kept, state + 1

    return optax.GradientTransformation(init, update)
