"""Makes the bundled weights of `digits_cnn`: digits 0 to 4, anywhere on a canvas.

    python -m tl_pipeline.stages.pretrain_digits --out digits_cnn.safetensors

Each epoch puts every training digit at fresh random places on a 16×16 canvas, so that
the network learns strokes and not where they stand. A seventh of the digits is held
out for the accuracy that is logged and written into the file.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from tl_pipeline.arrays import array_digest
from tl_pipeline.backbones.digits_cnn import CLASSES, make_architecture
from tl_pipeline.backbones.intake import normalize
from tl_pipeline.backbones.network import network_shapes
from tl_pipeline.backbones.parameters import (
    get_parameters,
    make_abstract,
    random_parameters,
    set_parameters,
    split_classifier,
)
from tl_pipeline.weights.safetensors import write_safetensors

logger = logging.getLogger(__name__)

CANVAS = 16
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
DROPOUT = 0.3  # of pooled features; 0.74 became 0.78 on new digits at 5 a class
COPIES = 4  # places a digit and epoch


class Digits(NamedTuple):
    """Digits 0 to 4 as they are."""

    images: np.ndarray  # [N, 8, 8] uint8
    targets: np.ndarray  # [N] int


def pretrain_digits(out: Path, *, seed: int = 0, epochs: int = 10) -> dict[str, Any]:
    """Trains the network and writes its weights as safetensors.

    Args:
      out: The file to write.
      seed: Of initial weights, the held-out digits, places, order and dropout.
      epochs: Passes over the training digits, at `COPIES` places each.

    Returns:
      Figures: `train_digits`, `test_digits`, `test_accuracy` (of held-out digits, at 5
      places each), `seed`, `epochs`.
    """
    started = time.perf_counter()
    train, test = split_digits(load_source_digits(), rng=_rng(seed, 0))
    state, graph = _initialize(seed)
    n_steps = len(train.targets) * COPIES // BATCH_SIZE
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(LEARNING_RATE, epochs * n_steps),
        weight_decay=WEIGHT_DECAY,
    )
    step = _make_step(graph, optimizer)
    optimizer_state = optimizer.init(state)
    key = jax.random.key(seed)
    for epoch in range(epochs):
        images, targets = draw_epoch(train, rng=_rng(seed, 1, epoch))
        loss = jnp.zeros(())
        # A loop of calls: inside lax.scan XLA's CPU backend runs convolutions on one
        # core, and 20 times slower.
        for i in range(n_steps):
            batch = slice(i * BATCH_SIZE, (i + 1) * BATCH_SIZE)
            state, optimizer_state, loss = step(
                state,
                optimizer_state,
                images[batch],
                targets[batch],
                key=jax.random.fold_in(key, epoch * n_steps + i),
            )
        logger.info("epoch %d of %d: last loss %.4f", epoch + 1, epochs, float(loss))
    figures = {
        "train_digits": len(train.targets),
        "test_digits": len(test.targets),
        "test_accuracy": _measure_accuracy(graph, state, test, rng=_rng(seed, 2)),
        "seed": seed,
        "epochs": epochs,
    }
    parameters = get_parameters(state)
    write_safetensors(out, parameters, metadata=_make_metadata(figures))
    logger.info("held-out accuracy %.4f on digits 0-4", figures["test_accuracy"])
    trunk, _ = split_classifier(parameters)
    seconds = time.perf_counter() - started
    logger.info("wrote %s, digest %.12s, in %.0f s", out, array_digest(trunk), seconds)
    return figures


def load_source_digits() -> Digits:
    """Returns scikit-learn's digits 0 to 4, its 0 to 16 scaled to 0 to 255."""
    table: Any = load_digits()
    kept = table.target < CLASSES
    images = np.rint(table.images[kept] * (255 / 16)).astype(np.uint8)
    return Digits(images, table.target[kept])


def split_digits(digits: Digits, *, rng: np.random.Generator) -> tuple[Digits, Digits]:
    """Returns the training digits, and a seventh of all, held out."""
    order = rng.permutation(len(digits.targets))
    cut = len(order) // 7
    test, train = order[:cut], order[cut:]
    return (
        Digits(digits.images[train], digits.targets[train]),
        Digits(digits.images[test], digits.targets[test]),
    )


def place_digits(images: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Puts each [8, 8] digit at a random place: [N, 8, 8] to [N, 16, 16, 1] uint8."""
    n, height, width = images.shape
    canvas = np.zeros((n, CANVAS, CANVAS, 1), np.uint8)
    tops = rng.integers(0, CANVAS - height + 1, n)
    lefts = rng.integers(0, CANVAS - width + 1, n)
    for image, top, left, target in zip(images, tops, lefts, canvas, strict=True):
        target[top : top + height, left : left + width, 0] = image
    return canvas


def draw_epoch(
    digits: Digits, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns every digit at `COPIES` places: [N, 16, 16, 1] uint8 and [N] targets."""
    n = len(digits.targets)
    order = np.concatenate([rng.permutation(n) for _ in range(COPIES)])
    return place_digits(digits.images[order], rng=rng), digits.targets[order]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the training from the command line."""
    parser = argparse.ArgumentParser(description="Pretrain digits_cnn on digits 0-4.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    pretrain_digits(options.out, seed=options.seed, epochs=options.epochs)


def _initialize(seed: int) -> tuple[Any, Any]:
    architecture = make_architecture()
    network = make_abstract(architecture.make_network, CLASSES)
    shapes = network_shapes(architecture, CLASSES)
    set_parameters(network, random_parameters(shapes, seed=seed))
    graph, state = nnx.split(network)
    return jax.device_put(state), graph


def _make_step(graph: Any, optimizer: optax.GradientTransformation) -> Any:
    preprocess = make_architecture().image_preprocess

    def measure_loss(state: Any, images: Any, targets: Any, key: Any) -> jax.Array:
        network = nnx.merge(graph, state)
        pooled = network(normalize(images, preprocess))["pool"]
        kept = jax.random.bernoulli(key, 1 - DROPOUT, pooled.shape)
        logits = network.classifier(pooled * kept / (1 - DROPOUT))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return losses.mean()

    @jax.jit
    def step(state: Any, optimizer_state: Any, images: Any, targets: Any, *, key: Any):
        loss, gradient = jax.value_and_grad(measure_loss)(state, images, targets, key)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, state)
        return optax.apply_updates(state, updates), optimizer_state, loss

    return step


def _measure_accuracy(
    graph: Any, state: Any, digits: Digits, *, rng: np.random.Generator
) -> float:
    images = place_digits(np.repeat(digits.images, 5, axis=0), rng=rng)
    inputs = normalize(jnp.asarray(images), make_architecture().image_preprocess)
    logits = np.asarray(nnx.merge(graph, state)(inputs)["logits"])
    correct = logits.argmax(axis=1) == np.repeat(digits.targets, 5)
    return round(float(correct.mean()), 4)


def _make_metadata(figures: dict[str, Any]) -> dict[str, str]:
    published = make_architecture().checkpoints[0]
    return {
        "architecture": "digits_cnn",
        "source_dataset": str(published["source_dataset"]),
        "license": str(published["license"]),
        "made_by": str(published["made_by"]),
        "figures": json.dumps(figures, sort_keys=True),
    }


def _rng(*seeds: int) -> np.random.Generator:
    return np.random.default_rng(seeds)


if __name__ == "__main__":
    main()
