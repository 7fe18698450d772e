"""Which heads are fitted together: paths from strong to weak, side by side."""

from typing import NamedTuple

import numpy as np

from tl_pipeline.heads.curvature import MEMORY

# What the solver may hold at once beside the features. Paths beyond it wait.
WORKING_BYTES = 2**30

# Arrays of [M, K, N] that are alive at once, counted with XLA's own buffers, and of
# [M, K, D]: the pairs of the memory, parameters, gradient, direction and move.
_LOGIT_ARRAYS = 6
_KERNEL_ARRAYS = 2 * MEMORY + 10


class Chunk(NamedTuple):
    """Paths that are one program, each of its own rows of examples.

    Attributes:
      rows: [T], the row of weights of each path.
      heads: [S, T], the index of each path's head at each step, strong to weak. A path
        with fewer steps than another ends in repeats of its last head.
    """

    rows: np.ndarray
    heads: np.ndarray


def make_chunks(
    strengths: np.ndarray, rows: np.ndarray, *, n_classes: int, shape: tuple[int, ...]
) -> list[Chunk]:
    """Puts heads of the same examples on one path, and paths into chunks of one size.

    Args:
      strengths: [M].
      rows: [M], the row of weights of each head.
      n_classes: K.
      shape: N and D, of the features.
    """
    order = np.lexsort((np.arange(len(rows)), -strengths, rows))
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    paths = np.split(order, starts[1:])
    paths.sort(key=len, reverse=True)  # those of many steps together
    n, width = shape
    path_bytes = 4 * n_classes * (_LOGIT_ARRAYS * n + _KERNEL_ARRAYS * width)
    fitting = max(1, WORKING_BYTES // path_bytes)
    size = -(-len(paths) // -(-len(paths) // fitting))
    # One shape is one compilation: the last chunk is filled up.
    paths += [paths[-1]] * (-len(paths) % size)
    chunks = []
    for first in range(0, len(paths), size):
        together = paths[first : first + size]
        steps = max(map(len, together))
        heads = [np.pad(path, (0, steps - len(path)), mode="edge") for path in together]
        chunks.append(Chunk(rows[[path[0] for path in together]], np.stack(heads, 1)))
    return chunks
