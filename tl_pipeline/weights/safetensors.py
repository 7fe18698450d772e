"""Reading and writing `.safetensors`: a JSON header and raw arrays, no code."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tl_pipeline.errors import WeightsError
from tl_pipeline.files import write_atomically


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays and the metadata of a `.safetensors` file.

    Raises:
      WeightsError: The file is truncated, damaged, or holds a dtype NumPy lacks.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except (SafetensorError, TypeError, ValueError) as error:
        raise WeightsError(
            f"Weights {path} are no whole safetensors file ({error}): it may be "
            "truncated; copy or download it again."
        ) from error


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], *, metadata: Mapping[str, str]
) -> None:
    """Writes arrays and text metadata, atomically; equal input gives equal bytes."""
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    write_atomically(path, save(ordered, dict(metadata)))
