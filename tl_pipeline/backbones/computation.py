"""What a network computes, read from its trace: its identity, and how much work."""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core


def digest_computation(function: Callable[..., Any], *arguments: Any) -> str:
    """Returns the SHA-256 of what a function computes; nothing is compiled or run.

    It is of the program in StableHLO, as JAX lowers it for a CPU, and of the constants
    in it. Comments, names and how the source is laid out are no part of that; a number,
    an operation or a shape is. Another version of JAX may lower otherwise.

    Args:
      function: Takes and returns trees of arrays.
      arguments: Arrays, or `jax.ShapeDtypeStruct`s.
    """
    traced = jax.jit(function).trace(*arguments)
    program = traced.lower(lowering_platforms=("cpu",)).as_text()
    return hashlib.sha256(program.encode()).hexdigest()


def count_flops(program: core.ClosedJaxpr) -> int:
    """Returns the work of a program's matrix products and convolutions.

    A multiplication and the addition that follows it count as 2. Padding counts as
    pixels do, and what is done to one element at a time does not count: so the figures
    of papers are made, which are mostly halves of these, multiply-adds.

    Args:
      program: From `jax.make_jaxpr`.
    """
    return _count(program.jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
    total: int = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        shapes: list[Any] = [getattr(v.aval, "shape", ()) for v in equation.invars]
        outputs = math.prod(getattr(equation.outvars[0].aval, "shape", [0]))
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += 2 * outputs * math.prod(shapes[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.params["dimension_numbers"].rhs_spec
            # The axes of a kernel are said in this order: D, C / groups, H, W.
            total += 2 * outputs * math.prod(shapes[1][axis] for axis in kernel[1:])
        elif name == "cond":
            # Which one runs is not known; forms for several platforms do equal work,
            # some of them element by element.
            total += max(map(_count, _list_inner(equation)))
        else:
            times = equation.params["length"] if name == "scan" else 1
            total += times * sum(map(_count, _list_inner(equation)))
    return total


def _list_inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    """Yields the programs within an operation."""
    for value in equation.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
