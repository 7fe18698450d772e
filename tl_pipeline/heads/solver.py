"""The solver of many multinomial logistic regressions at once, strength by strength.

An iteration costs two matrix products, both shared by all heads: the margins of the
direction, and the gradient from the residuals. So iterations are what is saved. Heads
that differ in their strength alone are one path, from strong to weak: the optimum moves
smoothly along it, so each begins where the line through the two before it leads, and
keeps what they have learned of the curvature.
"""

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from tl_pipeline.heads.curvature import Memory, newton_step, no_memory, remember
from tl_pipeline.heads.line_search import (
    RESOLUTION,
    Point,
    objective_at,
    search_line,
)
from tl_pipeline.heads.objective import (
    Parameters,
    Problem,
    Slopes,
    inner,
    is_target,
    loss_along,
    margins_of,
    slopes_at,
)

# Steps in a row that gain less than the resolution before a head counts as finished.
MAX_STALLED = 3

# A head that rests there has converged if its estimate is below this, else it is stuck.
STALLED_TOL = 1e-4

# The logit of a class that no training row has, where present ones average 0: a
# probability below 2e-9. Its optimum is minus infinity, which no file should hold.
ABSENT_BIAS = -20.0


class Place(NamedTuple):
    """Where M paths stand: all that the next strength begins with."""

    point: Point
    move: Parameters  # from the strength before the last to the last
    slopes: Slopes
    memory: Memory


class Solution(NamedTuple):
    """The heads of one strength a path."""

    parameters: Parameters
    objective: jax.Array  # [M]
    n_iter: jax.Array  # [M] int32
    converged: jax.Array  # [M] bool


class _State(NamedTuple):
    point: Point
    slopes: Slopes
    memory: Memory
    direction: Parameters  # all 0 where a head is done
    slope: jax.Array  # [M] of the objective along it
    stalled: jax.Array  # [M] int32
    n_iter: jax.Array  # [M] int32
    done: jax.Array  # [M] bool
    converged: jax.Array  # [M] bool
    step: jax.Array  # scalar int32


@jax.jit
def begin(problem: Problem, bias: jax.Array) -> Place:
    """Returns where all paths begin: kernels of 0, and a bias [M, K]."""
    n_heads, n_classes = bias.shape
    kernel = jnp.zeros((n_heads, n_classes, problem.features.shape[1]))
    logits = jnp.broadcast_to(bias[:, :, None], (*bias.shape, len(problem.targets)))
    mine = is_target(problem)
    margins = logits - jnp.where(mine, logits, 0).sum(axis=1, keepdims=True)
    margins = jnp.where(mine, -jnp.inf, margins)
    nowhere = jnp.zeros_like(margins)
    loss, _, _ = loss_along(problem, margins, nowhere, jnp.zeros(n_heads))
    parameters = Parameters(kernel, bias)
    return Place(
        point=Point(parameters, margins, loss),
        move=cast(Parameters, jax.tree.map(jnp.zeros_like, parameters)),
        slopes=slopes_at(problem, margins),
        memory=no_memory(parameters),
    )


@jax.jit(donate_argnames="place")
def advance(
    problem: Problem, place: Place, penalty: jax.Array, max_iter: int, tol: float
) -> tuple[Place, Solution]:
    """Minimizes the objective of every path's next strength.

    A head is finished when half its squared Newton step, as L-BFGS estimates it (the
    decrease that is still to be had), is below `tol` times its objective; or when
    float32 shows no decrease any more. It stays as it is while others go on.

    Args:
      problem: Features, targets and one row of settings a path.
      place: Where the paths stand; its memory is used again.
      penalty: [M] float32, the factor of half the squared norm of the kernel.
      max_iter: Iterations after which a head is left unconverged.
      tol: Relative decrease still to be had at which a head is finished.
    """
    n_heads = len(penalty)
    gradient = _full(place.slopes.gradient, place.point, penalty)
    slope = inner(gradient, place.move)
    # Not the difference of the margins: a small one is rounding, and followed far.
    changes = margins_of(problem, place.move)
    step, point = search_line(problem, penalty, place.point, place.move, changes, slope)
    moved = _scaled(place.move, step)
    memory, slopes = _learn(problem, penalty, place.memory, place.slopes, point, moved)

    def unfinished(state: _State) -> jax.Array:
        return (state.step < max_iter) & ~state.done.all()

    def aim(state: _State) -> _State:
        """Sets the direction, and which heads have none to go any more."""
        gradient = _full(state.slopes.gradient, state.point, penalty)
        direction = newton_step(state.memory, problem, penalty, state.slopes, gradient)
        slope = inner(gradient, direction)
        # Rounding may spoil the memory; the gradient itself always descends.
        spoiled = ~(slope < 0)
        direction = _choose(spoiled, _scaled(gradient, -jnp.ones(n_heads)), direction)
        slope = jnp.where(spoiled, -inner(gradient, gradient), slope)
        flat = slope == 0
        # Without a pair there is no estimate yet.
        known = (state.memory.products > 0).any(axis=0) & ~spoiled
        ahead = -0.5 * slope / objective_at(state.point, penalty)
        still = state.stalled >= MAX_STALLED
        ended = (known & (ahead <= tol)) | flat | (still & (ahead <= STALLED_TOL))
        done = state.done | ended | still | ~jnp.isfinite(state.point.loss)
        return state._replace(
            direction=_scaled(direction, jnp.where(done, 0.0, 1.0)),
            slope=jnp.where(done, 0.0, slope),
            done=done,
            converged=jnp.where(state.done, state.converged, ended),
        )

    def iterate(state: _State) -> _State:
        changes = margins_of(problem, state.direction)
        step, point = search_line(
            problem, penalty, state.point, state.direction, changes, state.slope
        )
        memory, slopes = _learn(
            problem,
            penalty,
            state.memory,
            state.slopes,
            point,
            _scaled(state.direction, step),
        )
        before = objective_at(state.point, penalty)
        gained = before - objective_at(point, penalty)
        return aim(
            state._replace(
                point=point,
                slopes=slopes,
                memory=memory,
                stalled=jnp.where(gained > RESOLUTION * before, 0, state.stalled + 1),
                n_iter=state.n_iter + ~state.done,
                step=state.step + 1,
            )
        )

    state = _State(
        point=point,
        slopes=slopes,
        memory=memory,
        direction=moved,
        slope=jnp.zeros(n_heads),
        stalled=jnp.zeros(n_heads, jnp.int32),
        n_iter=jnp.zeros(n_heads, jnp.int32),
        done=jnp.zeros(n_heads, bool),
        converged=jnp.zeros(n_heads, bool),
        step=jnp.int32(0),
    )
    state = jax.lax.while_loop(unfinished, iterate, aim(state))
    point = state.point
    move = jax.tree.map(jnp.subtract, point.parameters, place.point.parameters)
    return Place(point, move, state.slopes, state.memory), Solution(
        parameters=point.parameters,
        objective=objective_at(point, penalty),
        n_iter=state.n_iter,
        converged=state.converged,
    )


def _full(gradient: Parameters, point: Point, penalty: jax.Array) -> Parameters:
    decay = penalty[:, None, None] * point.parameters.kernel
    return Parameters(gradient.kernel + decay, gradient.bias)


def _learn(
    problem: Problem,
    penalty: jax.Array,
    memory: Memory,
    before: Slopes,
    point: Point,
    moved: Parameters,
) -> tuple[Memory, Slopes]:
    slopes = slopes_at(problem, point.margins)
    change = jax.tree.map(jnp.subtract, slopes.gradient, before.gradient)
    least = RESOLUTION * objective_at(point, penalty)
    return remember(memory, problem, penalty, slopes, moved, change, least), slopes


def _scaled(of: Parameters, factor: jax.Array) -> Parameters:
    return Parameters(of.kernel * factor[:, None, None], of.bias * factor[:, None])


def _choose(where: jax.Array, yes: Parameters, no: Parameters) -> Parameters:
    return Parameters(
        jnp.where(where[:, None, None], yes.kernel, no.kernel),
        jnp.where(where[:, None], yes.bias, no.bias),
    )
