"""What a network computes, read from its trace: its identity, and how much work."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from tl_pipeline.arrays import array_digest
from tl_pipeline.digest import json_digest


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
    # Large ones may be arguments of the program, and so not in its text.
    closed = traced.jaxpr
    constants = [
        array_digest({"": np.asarray(constant)})
        for constant in (*closed.consts, *_list_constants(closed.jaxpr))
    ]
    text = hashlib.sha256(program.encode()).hexdigest()
    return json_digest({"program": text, "constants": constants})


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
    return (jaxpr for jaxpr, _ in _open(equation.params))


def _list_constants(jaxpr: core.Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        for value in equation.invars:
            # Numbers stand in the program's text.
            if isinstance(value, core.Literal) and np.ndim(value.val):
                yield value.val
        for inner, constants in _open(equation.params):
            yield from constants
            yield from _list_constants(inner)


def _open(parameters: Mapping[str, Any]) -> Iterator[tuple[core.Jaxpr, Sequence[Any]]]:
    """Yields the programs within an operation, each with its constants."""
    for value in parameters.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr, item.consts
            elif isinstance(item, core.Jaxpr):
                yield item, ()
