"""The loop on a real network: what may change, what may not, and how it ends."""

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.config import make_finetune_config
from tl_pipeline.errors import ConfigError, TrainingError
from tl_pipeline.finetuning import training
from tl_pipeline.finetuning.checkpoints import Checkpoints
from tl_pipeline.finetuning.training import Problem, fine_tune
from tl_pipeline.progress import NoProgress

QUICK = {
    "batch_size": 12,
    "epochs": 2,
    "learning_rate": 1e-5,
    "head_learning_rate": 1e-3,
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


def tune(problem: Problem, folder: Path, *, progress=None, **changed):
    config = make_finetune_config(QUICK | changed)
    with Checkpoints(folder, identity=str(changed)) as checkpoints:
        return fine_tune(
            problem, config, checkpoints=checkpoints, progress=progress or NoProgress()
        )


@pytest.fixture(scope="module")
def tuned(problem: Problem, tmp_path_factory: pytest.TempPathFactory):
    return tune(problem, tmp_path_factory.mktemp("whole"))


def test_statistics_and_frozen_parameters_never_reach_the_optimizer(
    resnet: TrainableNetwork, problem: Problem, tuned
):
    before = {name: array.copy() for name, array in resnet.parameters.items()}
    assert tuned.trained.keys() == problem.trained.keys()
    assert not resnet.statistics & tuned.trained.keys()
    after = {**before, **problem.frozen, **tuned.trained}
    stage1 = set(resnet.blocks(["pool"])["stage1"])
    assert tuned.best_epoch == 2
    for name, array in before.items():
        moves = name in stage1 and name not in resnet.statistics
        assert (after[name].tobytes() != array.tobytes()) == moves, name


def test_the_best_epoch_is_kept_and_the_start_is_one(problem: Problem, tmp_path: Path):
    found = tune(problem, tmp_path, head_learning_rate=10.0, epochs=3, patience=2)
    losses = [epoch["val_loss"] for epoch in found.epochs]
    assert found.best_epoch == int(np.argmin(losses)) == 0
    assert len(losses) == 1 + 2  # it stopped when patience was over
    for name, array in problem.trained.items():
        np.testing.assert_array_equal(found.trained[name], array)


def test_stopped_and_called_again_it_ends_in_the_same_bytes(
    problem: Problem, tuned, tmp_path: Path
):
    with pytest.raises(Stopped):
        tune(problem, tmp_path, progress=StopAfter(2))
    again = tune(problem, tmp_path)
    assert again.epochs == tuned.epochs and again.steps == tuned.steps == 4
    for name, array in tuned.trained.items():
        assert again.trained[name].tobytes() == array.tobytes(), name


def test_a_checkpoint_of_other_settings_is_refused(problem: Problem, tmp_path: Path):
    with pytest.raises(Stopped):
        tune(problem, tmp_path, progress=StopAfter(1))
    with pytest.raises(ConfigError, match="step 1 is of another run.*delete"):
        tune(problem, tmp_path, seed=1)


def test_a_loss_that_is_not_finite_ends_in_a_sentence_and_keeps_the_checkpoint(
    problem: Problem, tmp_path: Path
):
    with pytest.raises(TrainingError, match="at step 2; the checkpoint of step 1 is"):
        tune(problem, tmp_path, head_learning_rate=1e38, clip_norm=0.0, warmup=0.0)


def test_exhausted_memory_ends_in_a_sentence_and_keeps_the_checkpoint(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls, norm = itertools.count(), training.math.isfinite

    def exhaust(number: float) -> bool:
        if next(calls) == 4:  # validation, then two numbers a step: the second step
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return norm(number)

    monkeypatch.setattr(training.math, "isfinite", exhaust)
    with pytest.raises(TrainingError, match="does not hold one; the checkpoint of st"):
        tune(problem, tmp_path)


def test_an_example_without_weight_has_no_part(problem: Problem, tmp_path: Path):
    weight = (problem.train.targets[:, 0] == 0).astype(np.float32)
    turned = np.where(weight[:, None] == 0, problem.train.targets[:, ::-1], 0)
    turned = turned + weight[:, None] * problem.train.targets
    assert (turned != problem.train.targets).any()
    found = [
        tune(
            problem._replace(
                train=problem.train._replace(weight=weight, targets=targets)
            ),
            tmp_path / str(i),
            epochs=1,
        )
        for i, targets in enumerate([problem.train.targets, turned])
    ]
    assert found[0].epochs == found[1].epochs
