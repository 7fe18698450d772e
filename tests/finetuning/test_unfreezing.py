"""Gradual unfreezing: block by block from the output, and every bit kept until then."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.config import make_finetune_config
from tl_pipeline.finetuning import training
from tl_pipeline.finetuning.checkpoints import Checkpoints
from tl_pipeline.finetuning.optimizer import make_optimizer
from tl_pipeline.finetuning.partition import choose_trained
from tl_pipeline.finetuning.training import Problem, fine_tune
from tl_pipeline.progress import NoProgress

FEATURE = "stage1:avg"
# Two batches an epoch; the stem is closed in the first.
GRADUAL = {
    "unfreeze_every": 1,
    "epochs": 2,
    "batch_size": 12,
    "learning_rate": 1e-5,
    "head_learning_rate": 1e-3,
    "warmup": 0.0,
    "weight_decay": 0.5,
    "checkpoint_steps": 1,
}


class Stopped(Exception):
    pass


class StopAfter(NoProgress):
    def __init__(self, steps: int):
        self.left = steps

    def advance(self, n: int) -> None:
        self.left -= n
        if self.left < 0:
            raise Stopped


@pytest.fixture(scope="module")
def whole(resnet: TrainableNetwork, problem: Problem) -> Problem:
    """The problem with the stem trained too, of which some numbers are minus 0."""
    blocks = resnet.blocks([FEATURE])
    found = choose_trained(blocks, unfreeze="all", statistics=resnet.statistics)
    arrays = {**problem.frozen, **problem.trained}
    for name in blocks["stem"]:
        arrays[name] = arrays[name].copy()
        arrays[name].reshape(-1)[:2] = -0.0
    return problem._replace(
        trained={name: arrays[name] for name in found.depths},
        frozen={name: x for name, x in arrays.items() if name not in found.depths},
        depths=found.depths,
    )


def tune(problem: Problem, folder: Path, *, progress: Any = None, **changed: Any):
    config = make_finetune_config(GRADUAL | changed)
    with Checkpoints(folder, identity="one") as checkpoints:
        return fine_tune(
            problem, config, checkpoints=checkpoints, progress=progress or NoProgress()
        )


def look(problem: Problem, folder: Path, steps: int) -> dict[str, np.ndarray]:
    """Returns the parameters after so many steps, as the checkpoint holds them."""
    with pytest.raises(Stopped):
        tune(problem, folder, progress=StopAfter(steps))
    with Checkpoints(folder, identity="one") as checkpoints:
        config = make_finetune_config(GRADUAL)
        loop = training._Loop(problem, config, checkpoints)
        loop.resume()
        assert loop.step == steps
        return {name: np.asarray(x) for name, x in loop._trained.items()}


def test_a_block_keeps_every_bit_until_it_opens_and_resumed_ends_in_the_same_bytes(
    resnet: TrainableNetwork, whole: Problem, tmp_path: Path
):
    stem = {n for n in resnet.blocks([FEATURE])["stem"] if n in whole.trained}
    assert stem
    for steps in (2, 3):  # stopped before the stem opens, and after
        found = look(whole, tmp_path / "stopped", steps)
        for name, array in whole.trained.items():
            moves = name not in stem or steps == 3
            assert (found[name].tobytes() != array.tobytes()) == moves, (steps, name)
    again = tune(whole, tmp_path / "stopped")
    straight = tune(whole, tmp_path / "straight")
    assert again.epochs == straight.epochs and again.steps == 4
    for name, array in straight.trained.items():
        assert again.trained[name].tobytes() == array.tobytes(), name


def test_patience_begins_when_all_blocks_are_open(whole: Problem, tmp_path: Path):
    found = tune(
        whole, tmp_path, head_learning_rate=10.0, unfreeze_every=2, epochs=5, patience=1
    )
    assert found.best_epoch == 0
    assert len(found.epochs) == 1 + 3  # open after 2, and one without gain


DEPTHS = {"top": 1, "low": 3}
START = {"top": jnp.ones((2, 2)), "low": jnp.full((2, 2), -0.0)}
RATES = {"learning_rate": 0.01, "warmup": 0.0, "weight_decay": 0.5, "clip_norm": 0.0}


def move(gradients: list[float], *, opens: int, **changed: Any) -> list[Any]:
    """Returns the parameters after each batch; `low` has such gradients."""
    config = make_finetune_config(RATES | changed)
    optimizer = make_optimizer(
        config, DEPTHS, n_steps=100, opens={"top": 0, "low": opens}
    )
    values: Any = START
    state, seen = optimizer.init(START), []
    for size in gradients:
        gradient = {"top": jnp.ones((2, 2)), "low": jnp.full((2, 2), size)}
        moves, state = optimizer.update(gradient, state, values)
        values = optax.apply_updates(values, moves)
        seen.append({name: np.asarray(x) for name, x in values.items()})
    return seen


def test_no_momentum_is_gathered_before_a_block_opens():
    seen = move([1e3, 1e3, 1e3, -1.0], opens=3, weight_decay=0.0)
    for values in seen[:3]:
        assert values["low"].tobytes() == np.asarray(START["low"]).tobytes()
    # Adam's first step is the rate itself, against the gradient of that step alone.
    np.testing.assert_allclose(seen[3]["low"], 0.01, rtol=1e-4)


def test_a_closed_gradient_does_not_count_in_the_norm_that_is_clipped():
    few, many = (
        move([1.0, size], opens=2, clip_norm=1.0)[1]["top"] for size in (1.0, 1e6)
    )
    np.testing.assert_array_equal(few, many)


def test_of_gathered_batches_a_block_opens_with_the_first_update_that_is_all_its_own():
    seen = move([1.0] * 6, opens=3, gradient_accumulation=2)
    still = [
        values["low"].tobytes() == np.asarray(START["low"]).tobytes() for values in seen
    ]
    assert still == [True] * 5 + [False]
