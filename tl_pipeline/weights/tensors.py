"""The tensors of a checkpoint file, under the file's own names."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tensors:
    """What a checkpoint file holds.

    Attributes:
      path: The file.
      format: `"keras-h5"`, `"keras-weights-h5"`, `"google-npz"`, `"safetensors"`,
        `"torch"` or `"darknet"`: what could be read.
      sha256: Of the file's bytes.
      arrays: Arrays by the file's own names.
      metadata: What the file says about itself, as text.
    """

    path: Path
    format: str
    sha256: str
    arrays: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]
