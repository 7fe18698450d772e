"""What a search has learned of the curvature: L-BFGS over many heads.

The estimate starts from a diagonal that is near the truth, not from a multiple of the
identity: along principal axes the second derivative of the cross-entropy is at most
(Boehning, 1992), and roughly, a product of the features' covariance and the spread of
the probabilities. The penalty's own curvature is known; the pairs hold that of the
cross-entropy alone, so they stay true when the strength changes.
"""

from typing import NamedTuple, cast

import jax
import jax.numpy as jnp

from tl_pipeline.heads.objective import Parameters, Problem, Slopes, inner, total_of

# Pairs of changes that are remembered: scipy's and scikit-learn's own default.
MEMORY = 10

# Below this a class is as good as settled everywhere; keeps the quotients finite.
LEAST_SPREAD = 1e-10


class Memory(NamedTuple):
    """The last steps and how the derivative changed by them, newest at `newest`.

    A head that rests keeps its pairs while others replace theirs, so the order of its
    pairs may be turned: any order of them gives a valid estimate.
    """

    steps: Parameters  # [MEMORY, M, ...]
    changes: Parameters  # [MEMORY, M, ...] of the cross-entropy's derivative
    products: jax.Array  # [MEMORY, M] step times change; 0: no pair
    lengths: jax.Array  # [MEMORY, M] squared length of the kernel's step
    scale: jax.Array  # [M] how much the diagonal undershoots, by the newest pair
    newest: jax.Array  # scalar int32


def no_memory(parameters: Parameters) -> Memory:
    """Returns the memory of a search that has made no step."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros((MEMORY, *leaf.shape)), parameters)
    empty = jnp.zeros((MEMORY, len(parameters.bias)))
    return Memory(
        zeros, zeros, empty, empty, jnp.ones(len(parameters.bias)), jnp.int32(0)
    )


def remember(
    memory: Memory,
    problem: Problem,
    penalty: jax.Array,
    slopes: Slopes,
    step: Parameters,
    change: Parameters,
    least: jax.Array,
) -> Memory:
    """Adds a pair for each head that moved; the others keep theirs.

    Args:
      memory: The pairs so far.
      problem: What the heads are fitted to.
      penalty: [M].
      slopes: Where the step led.
      step: Of the parameters; all 0 where a head rests.
      change: By the step, of the cross-entropy's derivative.
      least: [M], the decrease that float32 can still tell: a smaller step has changed
        the derivative by its rounding only.
    """
    product = inner(step, change)
    length = total_of(step.kernel**2)
    along = product + penalty * length
    full = _with_penalty(change, step, penalty)
    scale = along / inner(full, _inverse(problem, penalty, slopes, full))
    # A convex function never gives a product below 0; rounding does.
    usable = (product > 0) & (along > least) & jnp.isfinite(scale) & (scale > 0)
    slot = (memory.newest + 1) % MEMORY

    def put(held: jax.Array, new: jax.Array) -> jax.Array:
        where = usable.reshape(-1, *[1] * (new.ndim - 1))
        return held.at[slot].set(jnp.where(where, new, held[slot]))

    return Memory(
        steps=cast(Parameters, jax.tree.map(put, memory.steps, step)),
        changes=cast(Parameters, jax.tree.map(put, memory.changes, change)),
        products=put(memory.products, product),
        lengths=put(memory.lengths, length),
        scale=jnp.where(usable, scale, memory.scale),
        newest=slot,
    )


def newton_step(
    memory: Memory,
    problem: Problem,
    penalty: jax.Array,
    slopes: Slopes,
    gradient: Parameters,
) -> Parameters:
    """Returns minus the gradient over the estimated curvature.

    Two loops over the pairs: Nocedal and Wright, Numerical Optimization, 7.4.
    """
    along = memory.products + penalty * memory.lengths
    inverse = jnp.where(memory.products > 0, 1 / along, 0)  # [MEMORY, M]

    def pair(age: jax.Array) -> tuple[jax.Array, Parameters, Parameters]:
        slot = (memory.newest - age) % MEMORY
        step, change = jax.tree.map(
            lambda held: held[slot], (memory.steps, memory.changes)
        )
        return inverse[slot], step, _with_penalty(change, step, penalty)

    def backward(
        age: jax.Array, carried: tuple[Parameters, jax.Array]
    ) -> tuple[Parameters, jax.Array]:
        rest, factors = carried
        share, step, change = pair(age)
        factor = share * inner(step, rest)
        return _add(rest, -factor, change), factors.at[age].set(factor)

    def forward(turn: jax.Array, found: Parameters) -> Parameters:
        age = MEMORY - 1 - turn
        share, step, change = pair(age)
        return _add(found, factors[age] - share * inner(change, found), step)

    rest, factors = jax.lax.fori_loop(
        0, MEMORY, backward, (gradient, jnp.zeros_like(memory.products))
    )
    found = _inverse(problem, penalty, slopes, rest)
    found = _add(jax.tree.map(jnp.zeros_like, found), memory.scale, found)
    found = jax.lax.fori_loop(0, MEMORY, forward, found)
    return cast(Parameters, jax.tree.map(jnp.negative, found))


def _inverse(
    problem: Problem, penalty: jax.Array, slopes: Slopes, of: Parameters
) -> Parameters:
    spread = jnp.maximum(slopes.spread, LEAST_SPREAD)
    diagonal = spread[:, :, None] * problem.squares + penalty[:, None, None]
    return Parameters(of.kernel / diagonal, of.bias / spread)


def _with_penalty(
    change: Parameters, step: Parameters, penalty: jax.Array
) -> Parameters:
    kernel = change.kernel + penalty[:, None, None] * step.kernel
    return Parameters(kernel, change.bias)


def _add(to: Parameters, factor: jax.Array, of: Parameters) -> Parameters:
    return Parameters(
        to.kernel + factor[:, None, None] * of.kernel,
        to.bias + factor[:, None] * of.bias,
    )
