"""Reading NumPy's `.npz`, in which Google publishes its Vision Transformers and BiT.

A zip file with an array a member, named by the way to it in the network, as in
`Transformer/encoderblock_0/LayerNorm_0/scale`. Objects, which NumPy keeps as pickles,
are refused.
"""

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.weights.zip_members import (
    Member,
    ZipError,
    list_members,
    read_member,
)

MAX_COMPRESSION = 100  # floats are packed by far less
_SLACK = 4096  # bytes of an array's header, whose spaces pack well
_KINDS = "fiub"


def read_npz(path: Path) -> tuple[Mapping[str, np.ndarray], dict[str, str]]:
    """Returns the arrays of a `.npz` file by name.

    Each is read and checked once, and read again when it is asked for, so that no more
    than one is in memory beside what the caller makes of them.

    Raises:
      WeightsError: The file is damaged, or holds anything but arrays of numbers.
    """
    try:
        members = list_members(path)
        for member in members.values():
            _read_array(path, member)
    except (ZipError, ValueError) as error:
        raise _refusal(path, error) from None
    return _Arrays(path, members), {}


def _read_array(path: Path, member: Member) -> np.ndarray:
    if not member.name.endswith(".npy"):
        raise ZipError(f"its {member.name} is no array")
    if member.length > MAX_COMPRESSION * member.size + _SLACK:
        raise ZipError(f"{member.name} declares {member.length:,} bytes")
    data = read_member(path, member)
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ZipError(f"{member.name} is of version {version}")
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, is_fortran, dtype = read_header(stream)
    if dtype.kind not in _KINDS:
        raise ZipError(f"the dtype of {member.name} is {dtype}")
    n_bytes = len(data) - stream.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != n_bytes:
        raise ZipError(f"{member.name} has {n_bytes:,} bytes, and not {list(shape)}")
    array = np.frombuffer(data, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if is_fortran else "C")


def _refusal(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"Weights {path} are no whole .npz of arrays of numbers ({shorten(error)}): it "
        "may be truncated; copy or download it again."
    )


class _Arrays(Mapping[str, np.ndarray]):
    """Arrays by name, each read when it is asked for, and not kept."""

    def __init__(self, path: Path, members: Mapping[str, Member]):
        self._path = path
        self._members = {
            name.removesuffix(".npy"): member for name, member in members.items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return _read_array(self._path, self._members[name])
        except (ZipError, ValueError) as error:
            raise _refusal(self._path, error) from None

    # Without it a name would be looked for by reading its array.
    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
