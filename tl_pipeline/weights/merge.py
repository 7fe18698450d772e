"""Merging a checkpoint into a network: everything accounted for, or nothing is taken.

Every tensor of the file must have a place in the network, every parameter of the
network must be in the file, and all shapes must agree. What does not is collected and
said at once, both ways.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import MisfitError
from tl_pipeline.weights.tensors import Tensors

MAX_LINES = 20  # of each kind of mismatch in a message


class KeyRule(NamedTuple):
    """Where a parameter comes from.

    Several rules may share a target, for files that name it differently; a file that
    holds two of them is refused.

    Attributes:
      source: The tensor's name in the file; or several tensors', which after the
        transform are joined along the last axis.
      target: The parameter's dotted name in the network; or `LEFT_OUT`, for a tensor
        that files may hold and the network has no use for, as a text tower. Its
        source may then end in `*`.
      transform: One of `TRANSFORMS`.
    """

    source: str | tuple[str, ...]
    target: str
    transform: str = "same"

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of its tensors."""
        return (self.source,) if isinstance(self.source, str) else self.source


class Account(NamedTuple):
    """What becomes of a file's tensors.

    Attributes:
      used: The rule of each parameter that the file has.
      left_out: The tensors that the network has no use for, by the rule that says so.
      missing: Parameters that are not in the file, as a message says them.
      extra: Tensors that have no place, likewise.
    """

    used: Mapping[str, KeyRule]
    left_out: Mapping[str, list[str]]
    missing: list[str]
    extra: list[str]


LEFT_OUT = ""


def _swap_last_two(array: np.ndarray) -> np.ndarray:
    return array.swapaxes(-1, -2) if array.ndim >= 2 else array


def _outputs_last(array: np.ndarray) -> np.ndarray:
    if array.ndim < 2:
        return array
    return array.transpose(*range(2, array.ndim), 1, 0)


def _join_heads(array: np.ndarray) -> np.ndarray:
    return array.reshape(len(array), -1) if array.ndim == 3 else array.reshape(-1)


def _stack_rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1, array.shape[-1])


def _stack_rows_after_zero(array: np.ndarray) -> np.ndarray:
    return np.pad(_stack_rows(array), ((1, 0), (0, 0)))


def _pixel(array: np.ndarray) -> np.ndarray:
    return array.reshape(array.shape[-2:]) if array.shape[:-2] == (1, 1) else array


def _spread(array: np.ndarray, size: int) -> np.ndarray:
    """Returns [H * W * C, D] as [H, W, C, D]."""
    if array.ndim != 2 or len(array) % size**2:
        return array
    return array.reshape(size, size, -1, array.shape[1])


def _torch_spread(array: np.ndarray, size: int) -> np.ndarray:
    """Returns [D, C * H * W] as [H, W, C, D]."""
    if array.ndim != 2 or array.shape[1] % size**2:
        return array
    return _outputs_last(array.reshape(len(array), -1, size, size))


def _darknet_variance(array: np.ndarray) -> np.ndarray:
    """Returns what sqrt(variance) + 1e-6 is the root of."""
    with np.errstate(invalid="ignore"):  # a negative one is no number, and refused
        return np.square(np.sqrt(array.astype(np.float64)) + 1e-6)


# Depthwise kernels are [H, W, C, 1] in Keras and [H, W, 1, C] as a grouped convolution.
# PyTorch's kernels are [D, C / groups, H, W], and [D, C] of linear layers. Flax' of
# attention are [D, heads, D / heads] into the heads, and rows, [heads, D / heads, D],
# out of them. Tokens and positions are rows too, with axes of 1 before them or without;
# where the first token has no position of its own, its row is zero.
# Darknet adds its epsilon to the root of a variance.
# A "pixel" is a 1×1 convolution of a vector. A dense layer on an image, flattened as
# each framework lays it out, is a convolution by a kernel as large as the image.
TRANSFORMS = {
    "same": lambda array: array,
    "depthwise": _swap_last_two,
    "torch": _outputs_last,
    "to-heads": _join_heads,
    "flat": np.ravel,
    "rows": _stack_rows,
    "rows-after-zero": _stack_rows_after_zero,
    "pixel": _pixel,
    "torch-pixel": lambda array: _pixel(_outputs_last(array)),
    "flat-7x7": lambda array: _spread(array, 7),
    "torch-flat-7x7": lambda array: _torch_spread(array, 7),
    "torch-flat-6x6": lambda array: _torch_spread(array, 6),
    "darknet-variance": _darknet_variance,
}


def merge_tensors(
    tensors: Tensors,
    *,
    rules: Sequence[KeyRule],
    shapes: Mapping[str, tuple[int, ...]],
    optional: str = "",
    what: str = "the network",
) -> dict[str, np.ndarray]:
    """Returns the network's parameters from a file's tensors, all or nothing.

    Args:
      tensors: From `load_tensors`.
      rules: Which tensor is which parameter.
      shapes: The shape of every parameter, by dotted name.
      optional: Prefix of parameters that the file may lack altogether, but not in
        part: the classifier of a file without top. None, if empty.
      what: The network's name and settings, for the message.

    Returns:
      float32 arrays by dotted name.

    Raises:
      MisfitError: Something does not fit; the message lists all of it, both ways.
    """
    account = account_tensors(tensors, rules=rules, shapes=shapes, optional=optional)
    merged: dict[str, np.ndarray] = {}
    unfit: list[str] = []
    for name, rule in account.used.items():
        value, source = _take(tensors, rule), ", ".join(rule.sources)
        if value.shape != shapes[name]:
            unfit.append(
                f"{source}: the file has {list(value.shape)}, "
                f"{name} wants {list(shapes[name])}"
            )
        elif not np.isfinite(value).all():
            unfit.append(f"{source}: holds values that are not finite")
        merged[name] = value
    if account.missing or account.extra or unfit:
        raise MisfitError(
            _mismatch_message(
                tensors,
                what,
                len(account.used) + len(account.missing),
                missing=account.missing,
                extra=account.extra,
                unfit=unfit,
            )
        )
    return merged


def account_tensors(
    tensors: Tensors,
    *,
    rules: Sequence[KeyRule],
    shapes: Mapping[str, tuple[int, ...]],
    optional: str = "",
) -> Account:
    """Says which tensor is which parameter, by name; arguments as `merge_tensors`."""
    found: dict[str, KeyRule] = {}
    left_out: dict[str, list[str]] = {}
    extra = set(tensors.arrays)
    for rule in rules:
        if rule.target == LEFT_OUT:
            named = named_tensors(rule, extra)
            if named:
                left_out[", ".join(rule.sources)] = sorted(named)
            extra -= named
        # A second source of one target stays among the extra ones.
        elif rule.target not in found and tensors.arrays.keys() >= {*rule.sources}:
            found[rule.target] = rule
            extra.difference_update(rule.sources)
    wanted = set(shapes)
    if optional and not any(target.startswith(optional) for target in found):
        wanted = {name for name in wanted if not name.startswith(optional)}
    sources: dict[str, str] = {}
    for rule in rules:
        sources.setdefault(rule.target, ", ".join(rule.sources))
    extra = extra.union(*(found[name].sources for name in found.keys() - wanted))
    return Account(
        used={name: found[name] for name in sorted(wanted & found.keys())},
        left_out=left_out,
        missing=[_missing(name, sources, shapes) for name in wanted - found.keys()],
        extra=[f"{name} {list(tensors.arrays[name].shape)}" for name in extra],
    )


def named_tensors(rule: KeyRule, names: Collection[str]) -> set[str]:
    """Returns those of the names that a rule speaks of.

    Example:
      >>> sorted(named_tensors(KeyRule("text.*", LEFT_OUT), ["text.a", "text.b", "c"]))
      ['text.a', 'text.b']
    """
    if rule.target == LEFT_OUT and rule.sources[0].endswith("*"):
        return {name for name in names if name.startswith(rule.sources[0][:-1])}
    return {name for name in rule.sources if name in names}


def _take(tensors: Tensors, rule: KeyRule) -> np.ndarray:
    transform = TRANSFORMS[rule.transform]
    parts = [transform(tensors.arrays[source]) for source in rule.sources]
    # Parts that do not fit each other are shown as the first one.
    same = len({part.shape[:-1] for part in parts}) == 1 and parts[0].ndim
    joined = np.concatenate(parts, axis=-1) if len(parts) > 1 and same else parts[0]
    return np.asarray(joined, np.float32, order="C")


def _missing(
    name: str, sources: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> str:
    source = sources.get(name)
    called = f" (as {source})" if source and source != name else ""
    return f"{name} {list(shapes[name])}{called}"


def _mismatch_message(
    tensors: Tensors,
    what: str,
    n_wanted: int,
    *,
    missing: Sequence[str],
    extra: Sequence[str],
    unfit: Sequence[str],
) -> str:
    lines = [
        f"Weights {tensors.path} do not fit {what}: of {n_wanted} parameters "
        f"{len(missing)} are missing and {len(unfit)} do not fit, and of the file's "
        f"{len(tensors.arrays)} tensors {len(extra)} have no place. Give weights of "
        "this very architecture and settings."
    ]
    for title, names in (
        ("missing from the file", missing),
        ("in the file, but not in the network", extra),
        ("of another shape or value", unfit),
    ):
        if names:
            lines.append(f"{title} ({len(names)}):")
            lines += [f"  {name}" for name in sorted(names)[:MAX_LINES]]
        if len(names) > MAX_LINES:
            lines.append(f"  ... and {len(names) - MAX_LINES} more")
    return "\n".join(lines)
