"""The line search of many heads at once, each along its own direction.

Logits are linear in the parameters: along a direction they are `z + t * dz`, so a trial
step costs elementwise work only, beside the matrix product that gave `dz`.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tl_pipeline.heads.objective import Parameters, Problem, loss_along, total_of

# A step is taken when the slope fell to this share of its start. Trials are cheap
# beside the two products, so it is stricter than the usual 0.9; below 0.3 the number
# of iterations hardly falls.
SLOPE_SHARE = 0.3
MAX_TRIALS = 12

# float32 cannot tell objectives apart that differ by less than this, relatively.
RESOLUTION = 2e-7


class Point(NamedTuple):
    """Where the heads are."""

    parameters: Parameters
    margins: jax.Array  # [M, K, N]
    loss: jax.Array  # [M] the mean cross-entropy


class _Line(NamedTuple):
    """The line search of each head; all [M]."""

    step: jax.Array  # the next trial
    low: jax.Array  # largest step known to descend still
    high: jax.Array  # smallest step known to ascend
    taken: jax.Array  # the step to go: the accepted one, else `low`
    loss: jax.Array  # the mean cross-entropy there
    found: jax.Array
    trials: jax.Array  # of all


def objective_at(point: Point, penalty: jax.Array) -> jax.Array:
    """Returns the mean cross-entropy plus the penalty, [M]."""
    return point.loss + 0.5 * penalty * total_of(point.parameters.kernel**2)


def search_line(
    problem: Problem,
    penalty: jax.Array,
    point: Point,
    direction: Parameters,
    changes: jax.Array,
    slope: jax.Array,
) -> tuple[jax.Array, Point]:
    """Goes along a direction to about the minimum, by safeguarded Newton steps.

    Args:
      problem: What the heads are fitted to.
      penalty: [M].
      point: Where the heads are.
      direction: Where to go.
      changes: [M, K, N], the margins of the direction.
      slope: [M], of the objective along it. A head without descent stays where it is.

    Returns:
      The steps [M], 0 for no move, and where they lead.
    """
    # The penalty along the line is a parabola.
    constant = 0.5 * penalty * total_of(point.parameters.kernel**2)
    linear = penalty * total_of(point.parameters.kernel * direction.kernel)
    square = penalty * total_of(direction.kernel**2)
    before = point.loss + constant

    def searching(line: _Line) -> jax.Array:
        return (line.trials < MAX_TRIALS) & ~line.found.all()

    def try_step(line: _Line) -> _Line:
        loss, first, second = loss_along(problem, point.margins, changes, line.step)
        value = loss + constant + line.step * linear + 0.5 * line.step**2 * square
        first, second = first + linear + line.step * square, second + square
        lower = value <= before * (1 + RESOLUTION)
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
            loss=jnp.where(better, loss, line.loss),
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
            found=~(slope < 0),
            trials=jnp.int32(0),
        ),
    )
    taken = line.taken
    kernel = point.parameters.kernel + taken[:, None, None] * direction.kernel
    bias = point.parameters.bias + taken[:, None] * direction.bias
    margins = point.margins + taken[:, None, None] * changes
    return taken, Point(Parameters(kernel, bias), margins, line.loss)
