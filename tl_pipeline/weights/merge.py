"""Merging a checkpoint into a network: everything accounted for, or nothing is taken.

Every tensor of the file must have a place in the network, every parameter of the
network must be in the file, and all shapes must agree. What does not is collected and
said at once, both ways.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.tensors import Tensors

MAX_LINES = 20  # of each kind of mismatch in a message


class KeyRule(NamedTuple):
    """Where a parameter comes from.

    Several rules may share a target, for files that name it differently; a file that
    holds two of them is refused.

    Attributes:
      source: The tensor's name in the file.
      target: The parameter's dotted name in the network.
      transform: One of `TRANSFORMS`.
    """

    source: str
    target: str
    transform: str = "same"


def _swap_last_two(array: np.ndarray) -> np.ndarray:
    return array.swapaxes(-1, -2) if array.ndim >= 2 else array


def _outputs_last(array: np.ndarray) -> np.ndarray:
    if array.ndim < 2:
        return array
    return array.transpose(*range(2, array.ndim), 1, 0)


# Depthwise kernels are [H, W, C, 1] in Keras and [H, W, 1, C] as a grouped convolution.
# PyTorch's kernels are [D, C / groups, H, W], and [D, C] of linear layers.
TRANSFORMS = {
    "same": lambda array: array,
    "depthwise": _swap_last_two,
    "torch": _outputs_last,
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
      WeightsError: Something does not fit; the message lists all of it, both ways.
    """
    found: dict[str, KeyRule] = {}
    extra = set(tensors.arrays)
    for rule in rules:
        # A second source of one target stays among the extra ones.
        if rule.source in tensors.arrays and rule.target not in found:
            found[rule.target] = rule
            extra.discard(rule.source)
    wanted = set(shapes)
    if optional and not any(target.startswith(optional) for target in found):
        wanted = {name for name in wanted if not name.startswith(optional)}
    sources: dict[str, str] = {}
    for rule in rules:
        sources.setdefault(rule.target, rule.source)
    missing = [_missing(name, sources, shapes) for name in wanted - found.keys()]
    merged: dict[str, np.ndarray] = {}
    unfit: list[str] = []
    for name in sorted(wanted & found.keys()):
        rule = found[name]
        array = tensors.arrays[rule.source]
        value = np.asarray(TRANSFORMS[rule.transform](array), np.float32, order="C")
        if value.shape != shapes[name]:
            unfit.append(
                f"{rule.source}: the file has {list(value.shape)}, "
                f"{name} wants {list(shapes[name])}"
            )
        elif not np.isfinite(value).all():
            unfit.append(f"{rule.source}: holds values that are not finite")
        merged[name] = value
    left_over = [
        f"{name} {list(tensors.arrays[name].shape)}"
        for name in extra | {found[name].source for name in found.keys() - wanted}
    ]
    if missing or left_over or unfit:
        raise WeightsError(
            _mismatch_message(
                tensors,
                what,
                len(wanted),
                missing=missing,
                extra=left_over,
                unfit=unfit,
            )
        )
    return merged


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
