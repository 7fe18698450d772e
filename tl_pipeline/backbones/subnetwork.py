"""A part of a network: from the input, or from one of its outputs, to others.

A network is traced once to JAX's own list of its operations. What lies between two
places of it is those operations that the one needs and the other does not give. So
every network can be cut at every output, and none has to know.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun

from tl_pipeline.errors import BackboneError


class Traced(NamedTuple):
    """The operations of a network on a batch of one shape.

    Attributes:
      closed: The operations; they take the parameters, sorted by name, and the input.
      parameters: Names of the parameters, sorted.
      outputs: Names of the outputs, in order.
    """

    closed: ClosedJaxpr
    parameters: tuple[str, ...]
    outputs: tuple[str, ...]

    def place(self, output: str) -> Any:
        """Returns where an output is computed."""
        return self.closed.jaxpr.outvars[self.outputs.index(output)]


class Needed(NamedTuple):
    """What some places of a network take.

    Attributes:
      steps: Operations, in order.
      parameters: Names of the parameters, sorted.
      takes_input: Whether the network's input is among what they take.
    """

    steps: tuple[Any, ...]
    parameters: tuple[str, ...]
    takes_input: bool


def trace_network(
    run: Any,
    parameters: Mapping[str, jax.ShapeDtypeStruct],
    inputs: jax.ShapeDtypeStruct,
) -> Traced:
    """Traces a network; nothing is computed.

    Args:
      run: From parameters by name and inputs [B, ...] to outputs by name, in order.
      parameters: What all of them look like.
      inputs: Likewise.
    """
    names: list[str] = []

    def run_as_list(parameters: Any, inputs: jax.Array) -> list[jax.Array]:
        outputs = run(parameters, inputs)
        names.extend(outputs)
        return list(outputs.values())

    closed = jax.make_jaxpr(run_as_list)(dict(parameters), inputs)
    return Traced(closed, tuple(sorted(parameters)), tuple(names))


def find_needed(
    traced: Traced, ends: Sequence[str], *, start: str | None = None
) -> Needed:
    """Finds what some outputs take, where another one is given, or the input alone."""
    jaxpr = traced.closed.jaxpr
    given = set() if start is None else {traced.place(start)}
    missing = {place for place in map(traced.place, ends) if _is_open(place, given)}
    steps = []
    for step in reversed(jaxpr.eqns):
        if missing.isdisjoint(step.outvars):
            continue
        steps.append(step)
        missing.difference_update(step.outvars)
        missing.update(place for place in step.invars if _is_open(place, given))
    *own, batch = jaxpr.invars
    pairs = zip(traced.parameters, own, strict=True)
    names = tuple(name for name, place in pairs if place in missing)
    return Needed(tuple(reversed(steps)), names, batch in missing)


def run_part(
    traced: Traced,
    parameters: Mapping[str, jax.Array],
    inputs: jax.Array,
    *,
    ends: Sequence[str],
    start: str | None = None,
    beside: jax.Array | None = None,
) -> list[jax.Array]:
    """Computes outputs from the input, or from another output.

    Args:
      traced: The network, of the same batch shape and dtype.
      parameters: Those that are needed, by name.
      inputs: The network's input, or the output `start`.
      ends: The outputs.
      start: Where to begin.
      beside: The network's input, where outputs take of it what does not pass through
        `start`: of a text, which of its tokens there are.

    Raises:
      BackboneError: An output takes more of the network than passes through `start`.
    """
    needed = find_needed(traced, ends, start=start)
    jaxpr = traced.closed.jaxpr
    if start is not None and needed.takes_input and beside is None:
        raise BackboneError(
            f"Asked to run from {start} to {', '.join(ends)}: these take what does not "
            f"pass through {start}. Cut at an output that comes before them."
        )
    *own, batch = jaxpr.invars
    taken = [
        place
        for name, place in zip(traced.parameters, own, strict=True)
        if name in needed.parameters
    ]
    places, values = [batch], [inputs]
    if start is not None:
        places = [traced.place(start)]
        if beside is not None:
            places, values = [*places, batch], [inputs, beside]
    part = jaxpr.replace(
        invars=[*taken, *places],
        outvars=[traced.place(name) for name in ends],
        eqns=list(needed.steps),
    )
    given = [parameters[name] for name in needed.parameters]
    return jaxpr_as_fun(ClosedJaxpr(part, traced.closed.consts))(*given, *values)


def find_blocks(traced: Traced, ends: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Assigns each parameter that some outputs take to the first output that takes it.

    An output that adds but vectors, as a last norm does, is one block with the output
    before it.

    Returns:
      Names of parameters, sorted, by the name of their block, in the network's order.
    """
    wanted = set(find_needed(traced, ends).parameters)
    *own, _ = traced.closed.jaxpr.invars
    axes = {
        name: len(place.aval.shape)
        for name, place in zip(traced.parameters, own, strict=True)
    }
    blocks: dict[str, tuple[str, ...]] = {}
    for output in traced.outputs:
        new = wanted.intersection(find_needed(traced, [output]).parameters)
        wanted -= new
        if not new:
            continue
        if blocks and max(axes[name] for name in new) < 2:
            last = [*blocks][-1]
            blocks[last] = tuple(sorted({*blocks[last], *new}))
        else:
            blocks[output] = tuple(sorted(new))
    return blocks


def _is_open(place: Any, given: set[Any]) -> bool:
    return isinstance(place, Var) and place not in given
