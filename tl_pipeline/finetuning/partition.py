"""Which parameters are trained, and how far each is from the head.

What is frozen never reaches the optimizer: no gradient is taken of it, and no weight
decay can touch it.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tl_pipeline.errors import ConfigError

ALL = "all"
# Names of the head's parameters; no attribute of a network is called so.
KERNEL, BIAS = "@kernel", "@bias"


class Partition(NamedTuple):
    """What is trained.

    Attributes:
      depths: By the name of each trained parameter, blocks between it and the output:
        0 of the head's, 1 of the last block's.
      blocks: The trained blocks, in the network's order.
    """

    depths: Mapping[str, int]
    blocks: tuple[str, ...]


def opening_epochs(depths: Mapping[str, int], *, every: int) -> dict[str, int]:
    """Returns the epochs, from 0, that pass before each parameter is trained.

    The head and the last block are from the start, then a block more each time, towards
    the input.

    Args:
      depths: By parameter, from `Partition`.
      every: Epochs from one block to the next.

    Example:
      >>> opening_epochs({"@bias": 0, "top": 1, "low": 4}, every=3)
      {'@bias': 0, 'top': 0, 'low': 3}
    """
    below = sorted({depth for depth in depths.values() if depth > 0})
    epochs = {0: 0} | {depth: i * every for i, depth in enumerate(below)}
    return {name: epochs[depth] for name, depth in depths.items()}


def choose_trained(
    blocks: Mapping[str, Sequence[str]],
    *,
    unfreeze: str | Sequence[str],
    last: int | None = None,
    statistics: frozenset[str] = frozenset(),
) -> Partition:
    """Chooses what is trained, beside the head.

    Args:
      blocks: Parameters by block, in the network's order.
      unfreeze: Names of blocks, or `"all"`.
      last: So many blocks at the end instead.
      statistics: BatchNorm's, which are never trained.

    Raises:
      ConfigError: A block is unknown, or there are not so many.

    Example:
      >>> choose_trained({"stem": ["a"], "top": ["b", "m"]}, unfreeze=["top"],
      ...     statistics=frozenset("m")).depths
      {'@kernel': 0, '@bias': 0, 'b': 1}
    """
    names = tuple(blocks)
    if last is not None:
        if last > len(names):
            raise ConfigError(
                f"Asked to unfreeze the last {last} blocks: there are {len(names)}, "
                f"{', '.join(names)}."
            )
        chosen = names[len(names) - last :]
    elif unfreeze == ALL:
        chosen = names
    else:
        wanted = [unfreeze] if isinstance(unfreeze, str) else list(unfreeze)
        unknown = [name for name in wanted if name not in names]
        if unknown:
            close = difflib.get_close_matches(unknown[0], names, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"Asked to unfreeze {', '.join(unknown)}: the blocks with parameters "
                f"are {', '.join(names)}; or give {ALL!r}.{hint}"
            )
        chosen = tuple(name for name in names if name in wanted)
    depths = {KERNEL: 0, BIAS: 0}
    for name in chosen:
        depth = len(names) - names.index(name)
        depths |= {one: depth for one in blocks[name] if one not in statistics}
    return Partition(depths, chosen)
