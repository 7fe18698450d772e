"""Reading and writing `.safetensors`: a JSON header and raw arrays, no code."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.files import write_atomically

_DTYPES = {
    **{f"F{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"I{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    "BOOL": np.dtype(bool),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


class SavedTensors(Mapping[str, np.ndarray]):
    """The arrays of a file by name, each read when it is asked for.

    Whoever takes them one by one holds the file's numbers in memory once, not twice.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], start: int):
        """Takes the header of a file that is known to be whole, and where it ends."""
        self._path, self._header, self._start = path, header, start

    def __getitem__(self, name: str) -> np.ndarray:
        facts = self._header[name]
        array = np.fromfile(
            self._path,
            _DTYPES[facts["dtype"]],
            count=math.prod(facts["shape"]),
            offset=self._start + facts["data_offsets"][0],
        ).reshape(facts["shape"])
        if array.dtype == bool:  # as whoever wrote it has it: any byte but 0 is true
            return array.view(np.uint8) != 0
        return array.astype(np.float32) if facts["dtype"] == "BF16" else array

    # Without it a name would be looked for by reading its tensor.
    def __contains__(self, name: object) -> bool:
        return name in self._header

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


def read_safetensors(path: Path) -> tuple[SavedTensors, dict[str, str]]:
    """Returns the arrays and the metadata of a `.safetensors` file.

    bfloat16 is widened to float32, which holds each of its values.

    Raises:
      WeightsError: The file is truncated, damaged, names a tensor twice, or holds a
        dtype NumPy lacks.
    """
    try:
        # The library checks that the header fits the file; it reads no tensor here.
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
        header, start = _read_header(path)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"Weights {path} are no whole safetensors file ({shorten(error)}): it may "
            "be truncated; copy or download it again."
        ) from error
    odd = {facts["dtype"] for facts in header.values()} - _DTYPES.keys()
    if odd:
        raise WeightsError(
            f"Weights {path} hold a tensor of a dtype that NumPy lacks "
            f"({', '.join(sorted(odd))}). Save them as float32 or float16."
        )
    return SavedTensors(path, header, start), metadata


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    # The library takes the last of several tensors of one name, which JSON allows.
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size), object_pairs_hook=_check_names)
    header.pop("__metadata__", None)
    return header, 8 + size


def _check_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) < len(pairs):
        raise ValueError("its header has a name twice")
    return names


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], *, metadata: Mapping[str, str]
) -> None:
    """Writes arrays and text metadata, atomically; equal input gives equal bytes."""
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    write_atomically(path, save(ordered, dict(metadata)))
