"""Random targets and outputs of every task, for tests of metrics."""

from collections.abc import Callable

import numpy as np
import pytest

from tl_pipeline.tasks import Task

Case = tuple[Task, np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    """Makes a task, targets, and outputs that tell something of them."""
    return _make_case


def _make_case(
    kind: str, n: int, k: int, seed: int, *, missing: float = 0.0, ties: bool = False
) -> Case:
    rng = np.random.default_rng(seed)
    k = 2 if kind == "binary" else k
    task = Task(kind, tuple(f"name{i}" for i in range(k)))  # pyright: ignore
    noise = rng.normal(size=(n, k)) * 2
    if task.is_single_class:
        targets = rng.integers(0, k, n)
        logits = np.round(noise + 2 * np.eye(k)[targets], 0 if ties else 9)
        powers = np.exp(logits)
        return task, targets, powers / powers.sum(axis=1, keepdims=True)
    if kind == "multilabel":
        targets = (rng.random((n, k)) < 0.4) * 1.0
        outputs = 1 / (1 + np.exp(-noise - 2 * targets + 1))
    else:
        targets = np.round(rng.normal(size=(n, k)) * 3, 0 if ties else 9)
        outputs = targets + noise
    targets[rng.random((n, k)) < missing] = np.nan
    targets[0, 0] = 1.0  # one is known
    outputs = np.round(outputs, 1 if ties else 9)
    return task, targets.astype(np.float32), outputs
