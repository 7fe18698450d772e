"""Optimizers and schedules of Optax by name, with strengths that each head has."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from tl_pipeline.errors import ConfigError

# Not usable by a name and plain arguments.
_NOT_SCHEDULES = ("join_schedules", "inject_hyperparams", "inject_stateful_hyperparams")
# What a schedule needs and is not given: it is a factor, and as long as the training.
_FACTORS = ("value", "peak_value")
_LENGTHS = ("decay_steps", "transition_steps")


def _names_of(module: Any, accepts: Callable[[str, Any], bool]) -> dict[str, Any]:
    return {
        name: thing
        for name, thing in sorted(vars(module).items())
        if name.islower()
        and not name.startswith("_")
        and inspect.isfunction(thing)
        and accepts(name, thing)
    }


OPTIMIZERS: Mapping[str, Callable[..., optax.GradientTransformation]] = _names_of(
    optax,
    lambda name, thing: (
        "learning_rate" in inspect.signature(thing).parameters
        and not name.startswith("scale_by")
    ),
)
SCHEDULES: Mapping[str, Callable[..., optax.Schedule]] = _names_of(
    optax.schedules, lambda name, thing: name not in _NOT_SCHEDULES
)


def make_schedule(
    name: str, arguments: Mapping[str, Any], *, n_steps: int
) -> Callable[[Any], Any]:
    """Returns a schedule: from a step's number to a factor of the learning rate.

    Args:
      name: One of `SCHEDULES`.
      arguments: Its arguments. `value`, `peak_value` or else `init_value` is 1, an
        `init_value` before a peak 0, and `decay_steps` or `transition_steps` is
        `n_steps`, where the schedule has these and they are not given.
      n_steps: Of the whole training.

    Raises:
      ConfigError: The name or an argument is not known, or one is missing.

    Example:
      >>> round(float(make_schedule("cosine_decay_schedule", {}, n_steps=10)(5)), 3)
      0.5
    """
    make = _known("schedule", name, SCHEDULES)
    parameters = inspect.signature(make).parameters
    given: dict[str, float] = dict.fromkeys(_FACTORS, 1.0)
    given |= dict.fromkeys(_LENGTHS, n_steps)
    given["init_value"] = 0.0 if "peak_value" in parameters else 1.0
    usual = {key: value for key, value in given.items() if key in parameters}
    return _made("schedule", name, make, usual | dict(arguments))


def make_optimizer(
    name: str,
    arguments: Mapping[str, Any],
    *,
    learning_rate: jax.Array | float,
    weight_decay: jax.Array | float,
    mask: Any,
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer; the strengths may be traced, one of each head.

    Args:
      name: One of `OPTIMIZERS`.
      arguments: Its other arguments.
      learning_rate: Of this step.
      weight_decay: Decoupled where the optimizer has `weight_decay` and `mask`; else
        its product with a parameter is added to the gradient.
      mask: A tree like the parameters: whether one decays.

    Raises:
      ConfigError: The name or an argument is not known.
    """
    make = _known("optimizer", name, OPTIMIZERS)
    own = {"learning_rate": learning_rate}
    parameters = inspect.signature(make).parameters
    is_decoupled = {"weight_decay", "mask"} <= set(parameters)
    if is_decoupled:
        own |= {"weight_decay": weight_decay, "mask": mask}
    taken = [key for key in (*own, "weight_decay") if key in arguments]
    if taken:
        raise ConfigError(
            f"Asked for {taken[0]} among the arguments of {name!r}: it has a setting "
            f"of its own. Set {taken[0]} there."
        )
    made = _made("optimizer", name, make, own | dict(arguments))
    if is_decoupled:
        return optax.with_extra_args_support(made)
    decay = optax.add_decayed_weights(weight_decay, mask)  # pyright: ignore
    return optax.with_extra_args_support(optax.chain(decay, made))


def _known(what: str, name: str, table: Mapping[str, Any]) -> Callable[..., Any]:
    if name not in table:
        raise ConfigError(
            f"Asked for the {what} {name!r}; known of Optax are {', '.join(table)}."
        )
    return table[name]


def _made(
    what: str, name: str, make: Callable[..., Any], arguments: dict[str, Any]
) -> Any:
    signature = inspect.signature(make)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(
            f"Asked for the {what} {name!r}: {error}. It takes "
            f"{', '.join(signature.parameters)}."
        ) from error
    return make(**arguments)
