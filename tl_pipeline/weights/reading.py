"""Reading a checkpoint file, whatever its format; nothing in it is ever executed."""

from pathlib import Path

from tl_pipeline.digest import file_digest
from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.darknet import read_darknet
from tl_pipeline.weights.keras_h5 import read_keras_h5
from tl_pipeline.weights.keras_weights_h5 import (
    is_keras_weights_h5,
    read_keras_weights_h5,
)
from tl_pipeline.weights.npz import read_npz
from tl_pipeline.weights.safetensors import read_safetensors
from tl_pipeline.weights.tensors import Tensors
from tl_pipeline.weights.torch_files import read_torch

_KERAS_3 = ("keras-weights-h5", read_keras_weights_h5)
_READERS = {
    ".h5": ("keras-h5", read_keras_h5),
    ".hdf5": ("keras-h5", read_keras_h5),
    ".npz": ("google-npz", read_npz),
    ".safetensors": ("safetensors", read_safetensors),
    **dict.fromkeys((".pth", ".pt", ".bin", ".ckpt"), ("torch", read_torch)),
    **dict.fromkeys((".weights", ".74"), ("darknet", read_darknet)),
}


def load_tensors(path: Path) -> Tensors:
    """Reads all tensors of a checkpoint file.

    Args:
      path: Keras' `.h5`/`.hdf5`, the legacy layout or that of `.weights.h5`; a
        `.safetensors`; a PyTorch file: `.pth`, `.pt`, `.bin`, `.ckpt`; NumPy's `.npz`;
        Darknet-53 in Darknet's `.weights` or `.conv.74`.

    Raises:
      WeightsError: The file is missing, of an unknown format, truncated or otherwise
        not what its name says.
    """
    # What has no suffix and is not there is a name that was mistyped.
    if path.suffix.lower() not in _READERS and (path.suffix or path.exists()):
        raise WeightsError(
            f"Asked for weights {path}: no reader for {path.suffix or 'such names'!r} "
            f"files. Known are {', '.join(_READERS)}; also pretrained, "
            "hf:OWNER/NAME and random:SEED."
        )
    if not path.is_file():
        found = "it is a folder" if path.is_dir() else "there is no such file"
        raise WeightsError(
            f"Asked for weights {path}: {found}. Give the path of a file "
            f"({', '.join(_READERS)}), pretrained, hf:OWNER/NAME, or random:SEED."
        )
    format, read = _READERS[path.suffix.lower()]
    if format == "keras-h5" and is_keras_weights_h5(path):
        format, read = _KERAS_3
    try:
        sha256 = file_digest(path)
        arrays, metadata = read(path)
    except OSError as error:  # permissions, a disk that fails
        raise WeightsError(f"Weights {path} cannot be read: {error}.") from error
    return Tensors(path, format, sha256, arrays, metadata)
