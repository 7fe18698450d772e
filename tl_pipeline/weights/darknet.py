"""Reading Darknet's `.weights` of Darknet-53: of YOLOv3, of a classifier, or its trunk.

Such a file names nothing and says no shapes: after a header follow, for each
convolution in the order of the network's description, beta, gamma, mean, variance and
kernel in float32, so that the network must be known to read it. As many convolutions
as `darknet53.conv.74` has come first in all three; what follows is a classifier (bias
and kernel) or a detector, which is given as one vector.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tl_pipeline.errors import WeightsError

# Filters and residual blocks of each stage.
_STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))
_STEM, _CLASSES = 32, 1000
_NORM = ("beta", "gamma", "mean", "var")


def read_darknet(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the tensors of a `.weights` file as views of it.

    Returns:
      `conv0.beta`, `conv0.gamma`, `conv0.mean`, `conv0.var` [D] and `conv0.kernel`
      [D, C, H, W], float32, and so on to `conv51`; then `classifier.bias` [1000] and
      `classifier.kernel` [1000, 1024, 1, 1]; or `detector`, [N]; or nothing.

    Raises:
      WeightsError: Its size is not that of a header and such a network.
    """
    start = _header_bytes(path)
    n_bytes = path.stat().st_size - start
    shapes = dict(_trunk_shapes())
    n_trunk = sum(map(math.prod, shapes.values()))
    n_more = n_bytes // 4 - n_trunk
    if n_bytes % 4 or (n_more and n_more != _CLASSES * 1025 and not _detects(n_more)):
        raise WeightsError(
            f"Weights {path} are not of Darknet-53: its trunk takes {n_trunk:,} "
            f"numbers of 4 bytes, alone or with those of {_CLASSES} classes or of "
            f"YOLOv3's detector, and after the header are {n_bytes:,} bytes; the file "
            "is truncated or another network's."
        )
    if _detects(n_more):
        shapes["detector"] = (n_more,)
    elif n_more:
        shapes["classifier.bias"] = (_CLASSES,)
        shapes["classifier.kernel"] = (_CLASSES, _STAGES[-1][0], 1, 1)
    values = np.memmap(path, "<f4", mode="r", offset=start)
    arrays, at = {}, 0
    for name, shape in shapes.items():
        stop = at + math.prod(shape)
        arrays[name] = np.asarray(values[at:stop]).reshape(shape)
        at = stop
    return arrays, {}


def _header_bytes(path: Path) -> int:
    """Returns how long the header is: a version, and how many images were seen."""
    with path.open("rb") as file:
        head = file.read(12)
    if len(head) == 12:
        major, minor, _ = struct.unpack("<3i", head)
        if 0 <= major < 1000 and 0 <= minor < 1000:
            return 20 if major * 10 + minor >= 2 else 16
    raise WeightsError(
        f"Weights {path} are no file of Darknet's: it begins with {head!r}, which is "
        "no version; it may be truncated or another format."
    )


def _trunk_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    for i, (channels, filters, size) in enumerate(_convolutions()):
        yield from ((f"conv{i}.{part}", (filters,)) for part in _NORM)
        yield f"conv{i}.kernel", (filters, channels, size, size)


def _convolutions() -> Iterator[tuple[int, int, int]]:
    """Yields the channels, filters and size of each convolution."""
    yield 3, _STEM, 3
    channels = _STEM
    for filters, n_blocks in _STAGES:
        yield channels, filters, 3
        for _ in range(n_blocks):
            yield filters, filters // 2, 1
            yield filters // 2, filters, 3
        channels = filters


def _detects(n: int) -> bool:
    """Tells whether so many numbers are YOLOv3's detector, of any classes."""
    scales, coarser = ((512, 1024), (256, 512), (128, 256)), 0
    n_fixed = n_inputs = 0
    for filters, channels in scales:
        if coarser:  # on the way up
            n_fixed += coarser * filters + 4 * filters
            channels += filters
        wide = 2 * filters
        n_fixed += channels * filters + 2 * wide * filters  # 1×1, the first other
        n_fixed += 3 * (9 * filters * wide + 4 * wide) + 3 * 4 * filters
        n_inputs += wide + 1
        coarser = filters
    # Boxes of 3 shapes at each place: 4 corners, whether there is one, and classes.
    n_outputs, rest = divmod(n - n_fixed, n_inputs)
    return rest == 0 and n_outputs % 3 == 0 and n_outputs >= 3 * 6
