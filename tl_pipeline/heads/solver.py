"""The solver of many multinomial logistic regressions at once.

Logits are linear in the weights. Along a direction they are `z + t * dz`, so every
trial step of the line search costs elementwise work, and an iteration costs two matrix
products, both shared by all heads: `dz` from the direction, the gradient from the
residuals. Arrays of logits are [M, K, N]: with examples innermost, the softmax over a
few classes still runs in full vector width.
"""

from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

# Pairs of the L-BFGS memory: scipy's and scikit-learn's own default.
MEMORY = 10

# A step is taken when the slope fell to this share of its start. Trials are cheap
# beside the two products, so it is stricter than the usual 0.9; below 0.3 the number
# of iterations hardly falls.
SLOPE_SHARE = 0.3
MAX_TRIALS = 12

# float32 cannot tell objectives apart that differ by less than this, relatively.
RESOLUTION = 2e-7

# Steps in a row that gain less than the resolution before a head counts as finished.
MAX_STALLED = 3

# A head that rests there has converged if its estimate is below this, else it is stuck.
STALLED_TOL = 1e-4

# The logit of a class that no training row has, where present ones average 0: a
# probability below 2e-9. Its optimum is minus infinity, which no file should hold.
ABSENT_BIAS = -20.0


# Heads share the count of iterations and lie behind the pairs of the memory, so that
# reading a pair is a slice and no gather.
_AXES = optax.ScaleByLBFGSState(
    count=None,  # pyright: ignore[reportArgumentType]
    params=0,
    updates=0,
    diff_params_memory=1,
    diff_updates_memory=1,
    weights_memory=1,
)


class Problem(NamedTuple):
    """What one chunk of heads is fitted to.

    Attributes:
      features: [N, D] float32, shared by all heads.
      targets: [N] int32 class indices.
      weights: [M, N] float32, each row adding up to 1; 0 leaves an example out.
      penalty: [M] float32, the factor of half the squared norm of the kernel.
      present: [M, K] bool, the classes with a row of weight above 0.
      bias: [M, K] float32, where the bias starts.
    """

    features: jax.Array
    targets: jax.Array
    weights: jax.Array
    penalty: jax.Array
    present: jax.Array
    bias: jax.Array


class Solution(NamedTuple):
    """The heads where the search ended."""

    kernel: jax.Array  # [M, K, D]
    bias: jax.Array  # [M, K]
    loss: jax.Array  # [M] the objective
    n_iter: jax.Array  # [M]
    converged: jax.Array  # [M] bool


_Parameters = tuple[jax.Array, jax.Array]  # kernel and bias, or their changes


class _Point(NamedTuple):
    kernel: jax.Array  # [M, K, D]
    bias: jax.Array  # [M, K]
    margins: jax.Array  # [M, K, N]
    loss: jax.Array  # [M]


class _State(NamedTuple):
    point: _Point
    memory: optax.OptState  # of L-BFGS; see `_AXES`
    stalled: jax.Array  # [M] int32
    n_iter: jax.Array  # [M] int32
    done: jax.Array  # [M] bool
    converged: jax.Array  # [M] bool
    step: jax.Array  # scalar int32


class _Line(NamedTuple):
    """The line search of each head; all [M]."""

    step: jax.Array  # the next trial
    low: jax.Array  # largest step known to descend still
    high: jax.Array  # smallest step known to ascend
    taken: jax.Array  # the step to go: the accepted one, else `low`
    loss: jax.Array  # the objective there
    found: jax.Array
    trials: jax.Array  # of all


@jax.jit
def solve(problem: Problem, *, max_iter: int, tol: float) -> Solution:
    """Minimizes the objective of every head, from a kernel of zeros.

    A head is finished when half its squared Newton step, as L-BFGS estimates it (the
    decrease that is still to be had), is below `tol` times its loss; or when float32
    shows no decrease any more. Finished heads stay as they are while others go on.

    Args:
      problem: Features, targets and one row of settings a head.
      max_iter: Iterations after which a head is left unconverged.
      tol: Relative decrease still to be had at which a head is finished.
    """
    direction_of = optax.scale_by_lbfgs(MEMORY)
    update = jax.vmap(direction_of.update, in_axes=(0, _AXES, 0), out_axes=(0, _AXES))
    start = _start(problem)
    n_heads = len(problem.penalty)
    parameters = (start.kernel, start.bias)
    state = _State(
        point=start,
        memory=jax.vmap(direction_of.init, out_axes=_AXES)(parameters),
        stalled=jnp.zeros(n_heads, jnp.int32),
        n_iter=jnp.zeros(n_heads, jnp.int32),
        done=jnp.zeros(n_heads, bool),
        converged=jnp.zeros(n_heads, bool),
        step=jnp.int32(0),
    )

    def unfinished(state: _State) -> jax.Array:
        return (state.step < max_iter) & ~state.done.all()

    def iterate(state: _State) -> _State:
        point = state.point
        gradient = _gradient(problem, point)
        updates, memory = update(gradient, state.memory, (point.kernel, point.bias))
        ascent = cast(_Parameters, updates)
        slope = -_inner(gradient, ascent)  # [M]
        # Rounding may spoil the memory; the gradient itself always descends.
        spoiled = ~(slope < 0)
        ascent = jax.tree.map(partial(_choose, spoiled), gradient, ascent)
        slope = jnp.where(spoiled, -_inner(gradient, gradient), slope)
        # The first direction is the gradient at an arbitrary length: no estimate yet.
        ahead = -0.5 * slope / point.loss
        near = (ahead <= tol) & ~spoiled & (state.step > 0)
        flat = slope == 0
        done = state.done | near | flat
        direction = jax.tree.map(jnp.negative, ascent)
        moved = _line_step(problem, point, direction, slope, ~done)
        gained = point.loss - moved.loss
        stalled = jnp.where(gained > RESOLUTION * point.loss, 0, state.stalled + 1)
        finite = jnp.isfinite(moved.loss)
        still = stalled >= MAX_STALLED
        ended = near | flat | (still & (ahead <= STALLED_TOL))
        return _State(
            point=moved,  # by a step of 0 where the head is done
            memory=memory,
            stalled=stalled,
            n_iter=state.n_iter + ~done,
            done=done | still | ~finite,
            converged=jnp.where(state.done, state.converged, ended),
            step=state.step + 1,
        )

    state = jax.lax.while_loop(unfinished, iterate, state)
    return Solution(
        kernel=state.point.kernel,
        bias=state.point.bias,
        loss=state.point.loss,
        n_iter=state.n_iter,
        converged=state.converged,
    )


def _start(problem: Problem) -> _Point:
    n_heads, n_classes = problem.bias.shape
    kernel = jnp.zeros((n_heads, n_classes, problem.features.shape[1]), jnp.float32)
    logits = problem.bias[:, :, None] + jnp.zeros((1, 1, len(problem.targets)))
    margins = jnp.where(_is_target(problem), -jnp.inf, _margins(problem, logits))
    loss, _, _ = _along(problem, margins, jnp.zeros_like(margins), jnp.zeros(n_heads))
    return _Point(kernel, problem.bias, margins, loss)


def _is_target(problem: Problem) -> jax.Array:
    n_classes = problem.bias.shape[1]
    return (jnp.arange(n_classes)[:, None] == problem.targets)[None]  # [1, K, N]


def _margins(problem: Problem, logits: jax.Array) -> jax.Array:
    """Subtracts each example's target logit, so that small losses keep their digits."""
    # The target's own row comes out as an exact 0.
    chosen = jnp.where(_is_target(problem), logits, 0).sum(axis=1, keepdims=True)
    return logits - chosen


def _along(
    problem: Problem, margins: jax.Array, changes: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the mean cross-entropy and its two derivatives along a direction.

    `margins` hold minus infinity in the target's row and `changes` a 0, so the target
    adds nothing to the sums and its term, exp(0), is put in by hand.
    """
    moved = margins + step[:, None, None] * changes
    top = jnp.maximum(moved.max(axis=1), 0)  # [M, N]
    powers = jnp.exp(moved - top[:, None])
    others = powers.sum(axis=1)
    total = jnp.exp(-top) + others
    first = (powers * changes).sum(axis=1) / total
    second = (powers * changes**2).sum(axis=1) / total - first**2
    loss = top + jnp.log1p(others + jnp.expm1(-top))
    weighted = partial(jnp.einsum, "mn,mn->m", problem.weights)
    return weighted(loss), weighted(first), weighted(second)


def _gradient(problem: Problem, point: _Point) -> _Parameters:
    top = jnp.maximum(point.margins.max(axis=1, keepdims=True), 0)
    powers = jnp.exp(point.margins - top)
    others = powers.sum(axis=1, keepdims=True)
    share = problem.weights[:, None, :] / (jnp.exp(-top) + others)
    # 1 - p of the target, summed from the others: no cancellation near p = 1.
    residuals = jnp.where(_is_target(problem), -others * share, powers * share)
    residuals = jnp.where(problem.present[:, :, None], residuals, 0)
    kernel = jnp.einsum(
        "mkn,nd->mkd", residuals, problem.features, precision=jax.lax.Precision.HIGHEST
    )
    decay = problem.penalty[:, None, None] * point.kernel
    return kernel + decay, residuals.sum(axis=2)


def _line_step(
    problem: Problem,
    point: _Point,
    direction: _Parameters,
    slope: jax.Array,
    active: jax.Array,
) -> _Point:
    """Goes along the direction to about the minimum, by safeguarded Newton steps."""
    logits = jnp.einsum(
        "mkd,nd->mkn",
        direction[0],
        problem.features,
        precision=jax.lax.Precision.HIGHEST,
    )
    changes = _margins(problem, logits + direction[1][:, :, None])
    # The penalty along the line is a parabola.
    constant = 0.5 * problem.penalty * _sum(point.kernel**2)
    linear = problem.penalty * _sum(point.kernel * direction[0])
    square = problem.penalty * _sum(direction[0] ** 2)

    def objective(step: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        loss, first, second = _along(problem, point.margins, changes, step)
        penalty = constant + step * linear + 0.5 * step**2 * square
        return loss + penalty, first + linear + step * square, second + square

    def searching(line: _Line) -> jax.Array:
        return (line.trials < MAX_TRIALS) & ~line.found.all()

    def try_step(line: _Line) -> _Line:
        value, first, second = objective(line.step)
        lower = value <= point.loss * (1 + RESOLUTION)
        found = (jnp.abs(first) <= SLOPE_SHARE * jnp.abs(slope)) & lower
        ascends = (first > 0) | ~lower | ~jnp.isfinite(value)
        low = jnp.where(ascends, line.low, line.step)
        high = jnp.where(ascends, line.step, line.high)
        newton = line.step - first / second
        inside = (newton > low) & (newton < high)
        # With no step known to descend, the scale is still unknown: go by powers.
        between = jnp.where(low == 0, 0.1 * high, 0.5 * (low + high))
        fallback = jnp.where(jnp.isinf(high), 4 * line.step, between)
        following = jnp.minimum(jnp.where(inside, newton, fallback), 10 * line.step)
        better = found | ~ascends
        tried = _Line(
            step=following,
            low=low,
            high=high,
            taken=jnp.where(better, line.step, line.taken),
            loss=jnp.where(better, value, line.loss),
            found=found,
            trials=line.trials + 1,
        )
        kept = jax.tree.map(partial(jnp.where, line.found), line, tried)
        return kept._replace(trials=tried.trials)

    zeros = jnp.zeros_like(point.loss)
    line = jax.lax.while_loop(
        searching,
        try_step,
        _Line(
            step=zeros + 1,
            low=zeros,
            high=zeros + jnp.inf,
            taken=zeros,
            loss=point.loss,
            found=~active,
            trials=jnp.int32(0),
        ),
    )
    taken = line.taken
    return _Point(
        kernel=point.kernel + taken[:, None, None] * direction[0],
        bias=point.bias + taken[:, None] * direction[1],
        margins=point.margins + taken[:, None, None] * changes,
        loss=line.loss,
    )


def _choose(where: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
    return jnp.where(where.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _inner(a: _Parameters, b: _Parameters) -> jax.Array:
    return _sum(a[0] * b[0]) + _sum(a[1] * b[1])


def _sum(array: jax.Array) -> jax.Array:
    return array.sum(axis=tuple(range(1, array.ndim)))
