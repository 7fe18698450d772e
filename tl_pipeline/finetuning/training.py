"""The loop of a fine-tuning: steps, validation, checkpoints, the best kept."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from tl_pipeline.devices import share_batch
from tl_pipeline.errors import TrainingError
from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.finetuning.checkpoints import Checkpoints
from tl_pipeline.finetuning.losses import mean_loss
from tl_pipeline.finetuning.optimizer import make_optimizer
from tl_pipeline.finetuning.order import iterate_batches
from tl_pipeline.finetuning.partition import opening_epochs
from tl_pipeline.finetuning.steps import (
    Apply,
    Prepare,
    make_predict,
    make_update,
)
from tl_pipeline.progress import Progress
from tl_pipeline.tasks import Loss


class Examples(NamedTuple):
    """Examples of one split.

    Attributes:
      stream: From rows [B] of batches to their inputs, arrays [B, ...], in order.
      targets: [N, K] float32; NaN where a label or number is missing.
      weight: [N] float32.
    """

    stream: Callable[[Iterable[np.ndarray]], Iterator[Any]]
    targets: np.ndarray
    weight: np.ndarray


# The batch's rows among the train examples, the step, inputs as they are kept and
# targets [B, K] -> other views of them, and their targets.
Augment = Callable[[np.ndarray, int, Any, np.ndarray], tuple[Any, Any]]


class Problem(NamedTuple):
    """What is trained on what.

    Attributes:
      apply: The network, up to the features of the head.
      prepare: Makes a batch the network's input.
      augment: Makes views of training batches first; None: they stay as they are.
      trained: float32 parameters by name, the head's too.
      frozen: All others.
      depths: Of each trained one, from `Partition`.
      train: The examples to train on.
      val: Those by which the best epoch is chosen.
      loss: Of what the head gives.
      draw: From a batch's rows and the step to the rows that are streamed for it, where
        examples have several; None: the same.
    """

    apply: Apply
    prepare: Prepare
    augment: Augment | None
    trained: Mapping[str, np.ndarray]
    frozen: Mapping[str, np.ndarray]
    depths: Mapping[str, int]
    train: Examples
    val: Examples
    loss: Loss
    draw: Callable[[np.ndarray, int], np.ndarray] | None = None


class Tuned(NamedTuple):
    """What a fine-tuning found.

    Attributes:
      trained: The trained parameters at the best epoch, float32 by name.
      best_epoch: Which; 0 is the start.
      epochs: For each epoch `epoch`, `val_loss` and the `train_loss` of its batches.
      steps: Steps done, by whichever process.
      seconds: What they took, likewise.
      memory: Bytes of each device's memory that a step takes, by the compiler's
        account; None where it gives none.
    """

    trained: dict[str, np.ndarray]
    best_epoch: int
    epochs: tuple[Mapping[str, float], ...]
    steps: int
    seconds: float
    memory: int | None


def fine_tune(
    problem: Problem,
    config: FinetuneConfig,
    *,
    checkpoints: Checkpoints,
    progress: Progress,
) -> Tuned:
    """Trains until validation gains no more, and returns the best epoch's parameters.

    Killed at any time and called again, it ends in the same bytes on the same machine:
    the order of examples and all keys are functions of seed and step. All local devices
    share a batch that can be dealt out evenly, see `share_batch`, and each holds all
    parameters.

    Args:
      problem: What is trained on what.
      config: How.
      checkpoints: Where it may continue.
      progress: What to tell after each step.

    Raises:
      TrainingError: A loss is not finite, memory is exhausted, or a checkpoint cannot
        be written. The last good checkpoint is kept.
      ConfigError: The checkpoint is of another fine-tuning.
    """
    loop = _Loop(problem, config, checkpoints)
    loop.resume()
    progress.start("finetune", loop.n_steps)
    progress.advance(loop.step)
    try:
        with _telling_exhaustion(config, checkpoints):
            loop.run(progress)
    finally:
        progress.finish()
    return loop.finish()


class _Loop:
    """The state of a fine-tuning."""

    def __init__(
        self, problem: Problem, config: FinetuneConfig, checkpoints: Checkpoints
    ):
        self._problem = problem
        self._config = config
        self._checkpoints = checkpoints
        n = len(problem.train.targets)
        self._batch_size = min(config.batch_size, n)
        self._placement = share_batch(self._batch_size)
        self._epoch_steps = math.ceil(n / self._batch_size)
        self.n_steps = config.epochs * self._epoch_steps
        opens = opening_epochs(problem.depths, every=config.unfreeze_every)
        self._all_open = max(opens.values())  # epochs until then
        self._optimizer = make_optimizer(
            config,
            problem.depths,
            n_steps=self.n_steps,
            opens={n: epochs * self._epoch_steps for n, epochs in opens.items()},
        )
        self._update: Any = make_update(
            problem.apply, problem.prepare, self._optimizer, config, loss=problem.loss
        )
        self._predict = make_predict(problem.apply, problem.prepare, config)
        self._frozen = self._placement.copy(dict(problem.frozen))
        self._trained: Any = self._placement.copy(dict(problem.trained))
        self._state: Any = self._placement.copy(self._optimizer.init(self._trained))
        self._best: dict[str, np.ndarray] = dict(problem.trained)
        self._memory: int | None = None
        self._compiled: dict[tuple[tuple[int, ...], ...], Any] = {}
        self.step = 0
        self._about: dict[str, Any] = {
            "best_epoch": 0,
            "best_loss": None,
            "epochs": [],
            "losses": [],
            "seconds": 0.0,
        }

    def resume(self) -> None:
        """Goes to the latest checkpoint, if there is one."""
        found = self._checkpoints.load(self._tree())
        if found is not None:
            self.step, self._about = found.step, found.about
            tree = found.tree
            self._trained = self._placement.copy(tree["trained"])
            self._state = self._placement.copy(tree["optimizer"])
            self._best = tree["best"]

    def run(self, progress: Progress) -> None:
        """Does the steps that are left, epoch by epoch."""
        begin = time.perf_counter()
        before = self._about["seconds"]
        if self._about["best_loss"] is None:
            self._end_epoch(0)
        while not self._is_over():
            stop = (self.step // self._epoch_steps + 1) * self._epoch_steps
            steps = range(self.step, stop)
            rows = list(
                iterate_batches(
                    len(self._problem.train.targets),
                    self._batch_size,
                    seed=self._config.seed,
                    steps=steps,
                )
            )
            draw = self._problem.draw or (lambda rows, _: rows)
            drawn = [draw(taken, step) for taken, step in zip(rows, steps, strict=True)]
            for taken, inputs in zip(
                rows, self._problem.train.stream(drawn), strict=True
            ):
                self._take_step(taken, inputs)
                progress.advance(1)
                if self.step == stop:
                    self._end_epoch(self.step // self._epoch_steps)
                self._about["seconds"] = before + time.perf_counter() - begin
                if self.step % self._config.checkpoint_steps == 0:
                    self._checkpoints.save(self.step, self._tree(), self._about)

    def finish(self) -> Tuned:
        """Returns what was found."""
        return Tuned(
            trained={name: np.asarray(x) for name, x in self._best.items()},
            best_epoch=self._about["best_epoch"],
            epochs=tuple(self._about["epochs"]),
            steps=self.step,
            seconds=self._about["seconds"],
            memory=self._memory,
        )

    def _tree(self) -> dict[str, Any]:
        return {
            "trained": self._trained,
            "optimizer": self._state,
            "best": self._best,
        }

    def _is_over(self) -> bool:
        epoch, rest = divmod(self.step, self._epoch_steps)
        waited = epoch - max(self._about["best_epoch"], self._all_open)
        return not rest and (
            self.step >= self.n_steps or waited >= self._config.patience
        )

    def _take_step(self, rows: np.ndarray, inputs: Any) -> None:
        train = self._problem.train
        split = self._placement.split
        views, targets = split(inputs), train.targets[rows]
        if self._problem.augment is not None:
            # Not within the update, where XLA would compute its steps over and over.
            views, targets = self._problem.augment(rows, self.step, views, targets)
        arguments = (
            self._trained,
            self._state,
            self._frozen,
            *split((views, targets, train.weight[rows])),
            self._placement.copy(np.int32(self.step)),
        )
        # Texts have several lengths, each with an update of its own.
        shapes = tuple(np.shape(x) for x in jax.tree.leaves(views))
        if shapes not in self._compiled:
            # Compiled ahead of its first call, to have the compiler's account.
            compiled = self._update.lower(*arguments).compile()
            self._compiled[shapes] = compiled
            self._memory = max(self._memory or 0, _account(compiled) or 0) or None
        done = self._compiled[shapes](*arguments)
        loss, norm = float(done.loss), float(done.norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"Fine-tuning ended in a loss of {loss} and a gradient of norm {norm} "
                f"at step {self.step + 1}; {self._checkpoints.describe_latest()}. Lower"
                " learning_rate, or set clip_norm."
            )
        # As the next step takes them, wherever the compiler left them.
        self._trained, self._state = self._placement.copy(
            (done.trained, done.optimizer)
        )
        self._about["losses"].append(loss)
        self.step += 1

    def _end_epoch(self, epoch: int) -> None:
        problem = self._problem
        loss = mean_loss(problem.loss, self._predict_val(), problem.val.targets)
        if not math.isfinite(loss):
            raise TrainingError(
                f"Fine-tuning ended in a loss of {loss} on validation after epoch "
                f"{epoch}; {self._checkpoints.describe_latest()}. Lower learning_rate, "
                "or set clip_norm."
            )
        losses, self._about["losses"] = self._about["losses"], []
        record = {"epoch": epoch, "val_loss": loss}
        if losses:
            record["train_loss"] = math.fsum(losses) / len(losses)
        self._about["epochs"].append(record)
        best = self._about["best_loss"]
        if best is None or loss < best:
            self._about |= {"best_loss": loss, "best_epoch": epoch}
            self._best = {name: np.asarray(x) for name, x in self._trained.items()}

    def _predict_val(self) -> np.ndarray:
        n, size = len(self._problem.val.targets), self._batch_size
        parameters = {**self._frozen, **self._trained}
        # The last batch is filled up with its first example: one shape is compiled.
        batches = [
            np.resize(np.arange(start, min(start + size, n)), size)
            for start in range(0, n, size)
        ]
        found = [
            np.asarray(self._predict(parameters, self._placement.split(inputs)))
            for inputs in self._problem.val.stream(batches)
        ]
        return np.concatenate(found)[:n]


def _account(compiled: Any) -> int | None:
    """Returns the bytes that a compiled function takes at most at once."""
    found = compiled.memory_analysis()
    if found is None:
        return None
    return int(
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
    )


@contextlib.contextmanager
def _telling_exhaustion(
    config: FinetuneConfig, checkpoints: Checkpoints
) -> Iterator[None]:
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(
            error
        ):
            raise
        raise TrainingError(
            f"Asked to fine-tune in batches of {config.batch_size}: the memory of "
            f"{jax.devices()[0]} does not hold one; {checkpoints.describe_latest()}. "
            "Halve batch_size and double gradient_accumulation, set remat = true, or "
            "unfreeze fewer blocks."
        ) from error
