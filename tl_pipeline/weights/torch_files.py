"""Reading PyTorch's files, of whichever format they are."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.weights.pickles import RefusedError
from tl_pipeline.weights.torch_legacy import START, read_torch_legacy
from tl_pipeline.weights.torch_zip import read_torch_zip
from tl_pipeline.weights.zip_members import ZipError

_TAR_AT = 257


def read_torch(path: Path) -> tuple[Mapping[str, np.ndarray], dict[str, str]]:
    """Returns the tensors of a `torch.save` file by dotted name, executing nothing.

    Each is read from the file when it is asked for. Nested dicts give names with dots,
    as in `state_dict.conv1.weight`; bfloat16 is widened to float32.

    Raises:
      WeightsError: The file is of another format, damaged, or holds more than tensors:
        it names code that it would have run.
    """
    with path.open("rb") as file:
        head = file.read(512)
    try:
        if head.startswith(b"PK"):
            return read_torch_zip(path), {}
        if head.startswith(START):
            return read_torch_legacy(path), {}
    except (RefusedError, ZipError) as error:
        raise WeightsError(
            f"Weights {path} are refused: {shorten(error)}. Nothing of it was run. "
            "Where PyTorch is and the file is trusted, load it and save its state_dict "
            "alone, or as .safetensors."
        ) from None
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        raise WeightsError(
            f"Weights {path} are in PyTorch's tar format, of before version 0.1.10, "
            "which is not read. Load it where PyTorch is and save it anew."
        )
    raise WeightsError(
        f"Weights {path} are no file of torch.save: it begins with {head[:8]!r}. It "
        "may be truncated or another format; copy or download it again."
    )
