"""One program that trains M heads by gradients: steps, epochs, and when a head is done.

All heads see the same minibatches, so that their first layers are one product.
"""

import json
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tl_pipeline.heads.losses import row_losses
from tl_pipeline.heads.network import Layers, decays, first_parameters, outputs_of
from tl_pipeline.heads.optimizer import make_optimizer, make_schedule
from tl_pipeline.tasks import Loss


class Program(NamedTuple):
    """What the heads of one program have in common; hashable.

    Attributes:
      layers: Of each.
      loss: Of a row.
      optimizer: Its name and its arguments as JSON.
      schedule: Likewise.
      n_steps: Of the whole training.
      stops_early: Whether the best epoch is kept, and not the last.
    """

    layers: Layers
    loss: Loss
    optimizer: tuple[str, str]
    schedule: tuple[str, str]
    n_steps: int
    stops_early: bool


class Strengths(NamedTuple):
    """In what the heads differ, [M] each."""

    learning_rate: Any
    weight_decay: Any
    dropout_inputs: Any
    dropout_hidden: Any
    smoothing: Any
    patience: Any
    seed: Any
    sets: Any  # the row of weights
    center: Any  # [M, K] of targets
    scale: Any  # [M, K]


class State(NamedTuple):
    """Where M heads are; every array begins with M."""

    parameters: Any
    optimizer: Any
    best: Any  # parameters of the epoch that is kept
    loss: Any  # of that epoch; infinite before the first
    best_epoch: Any
    epochs: Any  # that were run
    since: Any  # epochs since the best
    alive: Any
    failed: Any


class Rows(NamedTuple):
    """Features with what they are trained to; `weights` are [W, N].

    Features may be several views of all rows, one after the other: [(V + 1) * N, ...].
    """

    features: Any
    targets: Any
    weights: Any

    def at(self, rows: jax.Array) -> "Rows":
        """Returns a minibatch; a row below 0 is none and weighs nothing."""
        examples = rows
        if len(self.features) > len(self.targets):
            examples = rows % len(self.targets)
        weights = jnp.where(rows >= 0, self.weights[:, examples], 0)
        return Rows(self.features[rows], self.targets[examples], weights)


def _optimizer_of(
    program: Program, strengths: Strengths, parameters: Any, step: jax.Array
) -> optax.GradientTransformationExtraArgs:
    name, arguments = program.schedule
    schedule = make_schedule(name, json.loads(arguments), n_steps=program.n_steps)
    name, arguments = program.optimizer
    return make_optimizer(
        name,
        json.loads(arguments),
        learning_rate=strengths.learning_rate * schedule(step),
        weight_decay=strengths.weight_decay,
        mask=decays(parameters),
    )


@partial(jax.jit, static_argnames="program")
def begin(program: Program, strengths: Strengths) -> State:
    """Returns M heads before their first step, each drawn from its own seed."""

    def begin_one(strengths: Strengths) -> State:
        parameters = first_parameters(program.layers, strengths.seed)
        optimizer = _optimizer_of(program, strengths, parameters, jnp.int32(0))
        zero = jnp.int32(0)
        return State(
            parameters=parameters,
            optimizer=optimizer.init(parameters),
            best=jax.tree.map(jnp.copy, parameters),
            loss=jnp.float32(jnp.inf),
            best_epoch=zero,
            epochs=zero,
            since=zero,
            alive=jnp.bool_(True),
            failed=jnp.bool_(False),
        )

    return jax.vmap(begin_one)(strengths)


def _sum_of_losses(
    program: Program,
    strengths: Strengths,
    column_weight: jax.Array,
    parameters: Any,
    rows: Rows,
    key: jax.Array | None,
) -> jax.Array:
    """Returns one head's weighted loss, summed over a minibatch."""
    dropout = strengths.dropout_inputs, strengths.dropout_hidden
    outputs = outputs_of(
        program.layers,
        parameters,
        rows.features,
        dropout=None if key is None else dropout,
        key=key,
    )
    targets = rows.targets
    if targets.ndim == 2:
        targets = (targets.T - strengths.center[:, None]) / strengths.scale[:, None]
    losses = row_losses(
        program.loss,
        outputs,
        targets,
        column_weight=column_weight,
        smoothing=strengths.smoothing if key is not None else jnp.float32(0),
    )
    return losses @ rows.weights[strengths.sets]


def _step(
    program: Program,
    strengths: Strengths,
    column_weight: jax.Array,
    parameters: Any,
    state: Any,
    rows: Rows,
    n: jax.Array,
    step: jax.Array,
) -> tuple[Any, Any, jax.Array]:
    """Returns all heads' parameters and optimizers after a step, and their losses."""

    def step_one(
        strengths: Strengths, parameters: Any, state: Any
    ) -> tuple[Any, Any, jax.Array]:
        key = jax.random.fold_in(jax.random.key(strengths.seed), step)
        # Apart from the keys of the first parameters.
        key = jax.random.fold_in(key, 1)

        def loss_of(parameters: Any) -> jax.Array:
            total = _sum_of_losses(
                program, strengths, column_weight, parameters, rows, key
            )
            return total / n

        value, gradient = jax.value_and_grad(loss_of)(parameters)
        optimizer = _optimizer_of(program, strengths, parameters, step)
        updates, state = optimizer.update(
            gradient, state, parameters, value=value, grad=gradient, value_fn=loss_of
        )
        return optax.apply_updates(parameters, updates), state, value

    return jax.vmap(step_one)(strengths, parameters, state)


def _end_epoch(
    program: Program,
    strengths: Strengths,
    state: State,
    train_loss: jax.Array,
    validation_loss: jax.Array,
    epoch: jax.Array,
) -> State:
    """Keeps the parameters of heads that got better, and says which are done."""
    is_finite = jnp.isfinite(train_loss) & jnp.isfinite(validation_loss)
    counts = state.alive & is_finite
    better = counts & (validation_loss < state.loss) if program.stops_early else counts

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    since = jnp.where(better, 0, state.since + 1)
    return state._replace(
        best=jax.tree.map(kept, state.parameters, state.best),
        loss=kept(validation_loss, state.loss),
        best_epoch=jnp.where(better, epoch + 1, state.best_epoch),
        epochs=state.epochs + state.alive,
        since=since,
        alive=counts & (since < strengths.patience),
        failed=state.failed | (state.alive & ~is_finite),
    )


def _validated(
    program: Program,
    strengths: Strengths,
    column_weight: jax.Array,
    parameters: Any,
    rows: Rows,
) -> jax.Array:
    """Returns the heads' losses [M], summed over rows; no dropout, no smoothing."""

    def one(strengths: Strengths, parameters: Any) -> jax.Array:
        return _sum_of_losses(program, strengths, column_weight, parameters, rows, None)

    return jax.vmap(one)(strengths, parameters)


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def run_epochs(
    program: Program,
    strengths: Strengths,
    column_weight: jax.Array,
    state: State,
    train: Rows,
    validation: Rows,
    orders: tuple[jax.Array, jax.Array],
    first: jax.Array,
    n_epochs: jax.Array,
) -> State:
    """Trains M heads for some epochs on resident features.

    Args:
      program: What they have in common.
      strengths: In what they differ.
      column_weight: [K].
      state: Where they are; not to be used again.
      train: Rows to train on.
      validation: Rows to score, whose weights add up to 1; of none if not needed.
      orders: The rows of each batch: [E, S, B] of `train` and [V, B] of `validation`.
      first: The number of the first epoch.
      n_epochs: At most E.
    """
    batches, validating = orders

    def epoch(i: jax.Array, state: State) -> State:
        def step(carry: Any, batch: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
            rows, number = batch
            parameters, optimizer, value = _step(
                program,
                strengths,
                column_weight,
                carry[0],
                carry[1],
                train.at(rows),
                (rows >= 0).sum(),
                number,
            )
            return (parameters, optimizer), value

        order = batches[i]
        numbers = (first + i) * len(order) + jnp.arange(len(order))
        carry, values = jax.lax.scan(
            step, (state.parameters, state.optimizer), (order, numbers)
        )
        state = state._replace(parameters=carry[0], optimizer=carry[1])
        loss = values.mean(axis=0)

        def score(total: jax.Array, rows: jax.Array) -> tuple[jax.Array, None]:
            more = _validated(
                program, strengths, column_weight, state.parameters, validation.at(rows)
            )
            return total + more, None

        scored = loss
        if program.stops_early:
            scored, _ = jax.lax.scan(score, jnp.zeros_like(loss), validating)
        return _end_epoch(program, strengths, state, loss, scored, first + i)

    return jax.lax.fori_loop(0, n_epochs, epoch, state)


@partial(jax.jit, static_argnames="program", donate_argnames="state")
def run_step(
    program: Program,
    strengths: Strengths,
    column_weight: jax.Array,
    state: State,
    rows: Rows,
    n: jax.Array,
    step: jax.Array,
) -> tuple[State, jax.Array]:
    """Takes one step on a minibatch that was handed over; also returns losses [M]."""
    parameters, optimizer, value = _step(
        program,
        strengths,
        column_weight,
        state.parameters,
        state.optimizer,
        rows,
        n,
        step,
    )
    return state._replace(parameters=parameters, optimizer=optimizer), value


run_score = jax.jit(_validated, static_argnames="program")
end_epoch = jax.jit(_end_epoch, static_argnames="program", donate_argnames="state")
