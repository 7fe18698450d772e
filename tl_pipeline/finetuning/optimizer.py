"""The optimizer of a fine-tuning: AdamW whose rate falls from the head to the input."""

from collections.abc import Hashable, Mapping

import jax
import optax

from tl_pipeline.finetune_config import FinetuneConfig


def make_optimizer(
    config: FinetuneConfig,
    depths: Mapping[str, int],
    *,
    n_steps: int,
) -> optax.GradientTransformation:
    """Makes the optimizer of the trained parameters alone.

    Their rate at depth d is `layer_decay ** d` of the schedule's: it rises over the
    warm-up and falls as a cosine to 0. Weight decay draws kernels to 0, not vectors.

    Args:
      config: The settings.
      depths: By parameter, from `Partition`.
      n_steps: Batches in all epochs.
    """
    every = config.gradient_accumulation
    n_updates = max(1, n_steps // every)
    warm = min(round(config.warmup * n_updates), n_updates - 1)
    labels = {name: f"depth {depth}" for name, depth in depths.items()}
    labels |= {name: "head" for name, depth in depths.items() if depth == 0}

    def make_rate(label: str) -> optax.Schedule:
        peak = config.head_learning_rate
        if label != "head":
            depth = int(label.split()[1])
            peak = config.learning_rate * config.layer_decay ** (depth - 1)
        return optax.warmup_cosine_decay_schedule(0.0, peak, warm, n_updates)

    layers: dict[Hashable, optax.GradientTransformation] = {
        label: optax.adamw(
            make_rate(label),
            weight_decay=config.weight_decay,
            mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree),
        )
        for label in sorted(set(labels.values()))
    }
    steps: list[optax.GradientTransformation] = [optax.partition(layers, labels)]
    if config.clip_norm:
        steps.insert(0, optax.clip_by_global_norm(config.clip_norm))
    optimizer = optax.chain(*steps)
    if every == 1:
        return optimizer
    return optax.MultiSteps(optimizer, every).gradient_transformation()
