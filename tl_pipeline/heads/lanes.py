"""The heads of one program from their first epoch to the last that is still training.

A head that is done costs as much as one that is not until it leaves the program. They
leave when half of the lanes are done: for a smaller program is compiled anew.

Of several devices each trains its share of the lanes, on rows that are on all of them.
A head that is trained alone gains nothing from them, and is trained on one.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tl_pipeline.devices import Placement, all_devices, share_batch
from tl_pipeline.heads.minibatches import Minibatches, draw_views, epoch_order
from tl_pipeline.heads.training import (
    Program,
    Rows,
    State,
    Strengths,
    begin,
    end_epoch,
    run_epochs,
    run_score,
    run_step,
)
from tl_pipeline.heads.weighting import Weighting

# Epochs between two looks at who is done: each look waits for the device.
SEGMENT = 8


class Trained(NamedTuple):
    """How the training of one head ended."""

    parameters: dict[str, np.ndarray]
    loss: float  # on validation, or on train where all epochs were run
    best_epoch: int  # from 1; 0: none was finite
    epochs: int
    failed: bool


# From a program's strengths and state to the state some epochs later.
Advance = Callable[[Strengths, State, int, int], State]


def place_lanes(n_heads: int) -> Placement:
    """Returns the devices that train so many heads of one program."""
    return all_devices() if n_heads > 1 else share_batch(1)


def train_lanes(
    program: Program,
    strengths: Strengths,
    *,
    epochs: int,
    advance: Advance,
    placement: Placement,
) -> list[Trained]:
    """Trains M heads together, and lets go of those that are done.

    Args:
      program: What they have in common.
      strengths: In what they differ, NumPy arrays.
      epochs: At most.
      advance: Trains a state from one epoch on for some.
      placement: The devices, from `place_lanes`, where the rows are too.
    """
    n_heads = len(strengths.seed)
    found: list[Trained | None] = [None] * n_heads
    lanes = np.resize(np.arange(n_heads), placement.fill_up(n_heads))
    strengths = jax.tree.map(itemgetter(lanes), strengths)
    heads = np.where(np.arange(len(lanes)) < n_heads, lanes, -1)  # -1: filled up
    state = placement.split(begin(program, placement.split(strengths)))
    epoch = 0
    while epoch < epochs:
        length = min(SEGMENT, epochs - epoch)
        state = advance(strengths, state, epoch, length)
        epoch += length
        alive = np.flatnonzero(np.asarray(state.alive) & (heads >= 0))
        if not len(alive):
            break
        if 2 * len(alive) > len(heads) or epoch >= epochs:
            continue
        _collect(state, heads, np.setdiff1d(np.arange(len(heads)), alive), found)
        # Powers of two: few programs, whoever is left.
        size = placement.fill_up(1 << (len(alive) - 1).bit_length())
        if size >= len(heads):
            continue
        lanes = np.resize(alive, size)
        state, strengths = jax.tree.map(itemgetter(lanes), (state, strengths))
        state = placement.split(state)
        heads = np.where(np.arange(len(lanes)) < len(alive), heads[lanes], -1)
    _collect(state, heads, np.arange(len(heads)), found)
    return [trained for trained in found if trained is not None]


def _collect(
    state: State, heads: np.ndarray, lanes: np.ndarray, found: list[Trained | None]
) -> None:
    """Writes down how some lanes ended."""
    state = state._replace(parameters=None, optimizer=None)
    state = jax.tree.map(np.asarray, state)
    for lane in lanes:
        if heads[lane] < 0:
            continue
        parameters = {name: array[lane].copy() for name, array in state.best.items()}
        is_finite = all(np.isfinite(array).all() for array in parameters.values())
        found[heads[lane]] = Trained(
            parameters,
            float(state.loss[lane]),
            int(state.best_epoch[lane]),
            int(state.epochs[lane]),
            bool(state.failed[lane]) or not is_finite,
        )


class ResidentRows:
    """Features on the device, with the order in which an epoch sees them."""

    def __init__(
        self,
        features: np.ndarray,
        weighting: Weighting,
        validation: Rows,
        *,
        batch_size: int,
        seed: int,
        placement: Placement,
        views: np.ndarray | None = None,
    ):
        """Puts all on each device: [N, ...] float32, and [V, N, ...] views of them."""
        self._n_views = 0 if views is None else len(views)
        stacked = features
        if views is not None:
            stacked = np.concatenate([features[None], views])
            stacked = stacked.reshape(-1, *features.shape[1:])
        rows = Rows(stacked, weighting.targets, weighting.train)
        self._train = placement.copy(rows)
        self._validation = placement.copy(validation)
        self._column_weight = jnp.asarray(weighting.column_weight)
        self._shape = len(features), min(batch_size, len(features))
        n = len(validation.features)
        rows = np.arange(n, dtype=np.int32)
        size = min(batch_size, max(1, n))
        rows = np.pad(rows, (0, -n % size), constant_values=-1)
        self._validating = jnp.asarray(rows.reshape(-1, size))
        self._seed = seed

    def advance(self, program: Program) -> Advance:
        """Returns what trains the heads of a program."""

        def advance(
            strengths: Strengths, state: State, first: int, length: int
        ) -> State:
            n, size = self._shape
            # Always of one shape: one compilation, whatever the number of epochs.
            orders = [self._order(n, size, first + i) for i in range(length)]
            orders += [orders[0]] * (SEGMENT - length)
            return run_epochs(
                program,
                strengths,
                self._column_weight,
                state,
                self._train,
                self._validation,
                (jnp.asarray(np.stack(orders)), self._validating),
                jnp.int32(first),
                jnp.int32(length),
            )

        return advance

    def _order(self, n: int, size: int, epoch: int) -> np.ndarray:
        rows = epoch_order(n, size, seed=self._seed, epoch=epoch)
        if not self._n_views:
            return rows
        return draw_views(rows, n, self._n_views, seed=self._seed, epoch=epoch)


class StreamedRows:
    """Features that are read batch by batch, for what no device holds."""

    def __init__(
        self,
        batches: Minibatches,
        weighting: Weighting,
        validation: "tuple[Minibatches, Rows] | None",
        *,
        seed: int,
        placement: Placement,
    ):
        """Keeps the minibatches; the rows' targets and weights stay on the host.

        Args:
          batches: To train on.
          weighting: Of the rows in the table.
          validation: Minibatches to score, with the table's targets and weights; None
            where none is needed.
          seed: Of the order.
          placement: The devices that take each minibatch.
        """
        self._batches, self._seed, self._placement = batches, seed, placement
        self._rows = Rows(None, weighting.targets, weighting.train)
        self._validation = validation
        self._column_weight = jnp.asarray(weighting.column_weight)

    def advance(self, program: Program) -> Advance:
        """Returns what trains the heads of a program."""

        def advance(
            strengths: Strengths, state: State, first: int, length: int
        ) -> State:
            strengths = jax.tree.map(jnp.asarray, strengths)
            for epoch in range(first, first + length):
                if not np.asarray(state.alive).any():
                    break
                state = self._epoch(program, strengths, state, epoch)
            return state

        return advance

    def _epoch(
        self, program: Program, strengths: Strengths, state: State, epoch: int
    ) -> State:
        steps = -(-len(self._batches) // self._batches.batch_size)
        total, number = jnp.zeros(len(state.alive)), 0
        for features, places in self._batches.shuffled(seed=self._seed, epoch=epoch):
            rows = self._hand_over(features, places, self._rows, self._batches)
            state, value = run_step(
                program,
                strengths,
                self._column_weight,
                state,
                rows,
                jnp.int32(len(places)),
                jnp.int32(epoch * steps + number),
            )
            total, number = total + value, number + 1
        loss = scored = total / max(1, number)
        if self._validation is not None:
            scored = self._scored(program, strengths, state.parameters)
        return end_epoch(program, strengths, state, loss, scored, jnp.int32(epoch))

    def _scored(
        self, program: Program, strengths: Strengths, parameters: Any
    ) -> jax.Array:
        assert self._validation is not None
        batches, table = self._validation
        total = jnp.zeros(len(strengths.seed))
        for features, places in batches.shuffled(seed=0, epoch=0):
            rows = self._hand_over(features, places, table, batches)
            total += run_score(
                program, strengths, self._column_weight, parameters, rows
            )
        return total

    def _hand_over(
        self,
        features: np.ndarray,
        places: np.ndarray,
        table: Rows,
        batches: Minibatches,
    ) -> Rows:
        """Returns a minibatch on the devices, filled up to its size by no rows."""
        size = batches.batch_size
        missing = size - len(places)
        features = np.asarray(features, np.float32)
        if missing:
            features = np.concatenate([features, features[:1].repeat(missing, axis=0)])
            places = np.concatenate([places, places[:1].repeat(missing)])
        weights = table.weights[:, places]
        weights[:, size - missing :] = 0
        return self._placement.copy(Rows(features, table.targets[places], weights))
