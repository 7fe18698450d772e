"""Reading and writing `.safetensors`: a JSON header and raw arrays, no code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.files import write_atomically


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays and the metadata of a `.safetensors` file.

    bfloat16 is widened to float32, which holds each of its values.

    Raises:
      WeightsError: The file is truncated, damaged, names a tensor twice, or holds a
        dtype NumPy lacks.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            _check_header(path)
            arrays = {name: _widen(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except (AttributeError, TypeError) as error:  # of a dtype, looked up in NumPy
        raise WeightsError(
            f"Weights {path} hold a tensor of a dtype that NumPy lacks "
            f"({shorten(error)}). Save them as float32 or float16."
        ) from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"Weights {path} are no whole safetensors file ({shorten(error)}): it may "
            "be truncated; copy or download it again."
        ) from error


def _widen(array: np.ndarray) -> np.ndarray:
    if array.dtype == ml_dtypes.bfloat16:
        return array.astype(np.float32)
    if array.dtype.isbuiltin != 1:  # of the other ones in `ml_dtypes`
        raise TypeError(f"{array.dtype}")
    return array


def _check_header(path: Path) -> None:
    # The library takes the last of several tensors of one name, which JSON allows.
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
    json.loads(header, object_pairs_hook=_check_names)


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
