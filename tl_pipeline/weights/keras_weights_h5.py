"""Reading Keras 3's `.weights.h5`, as `Model.save_weights` writes it.

A layer's tensors are `layers/LAYER/vars/0`, `.../1`, in the order in which the layer
made them; LAYER is its class with a count, as in `conv2d_3`, whatever name it was
given, and a model within a model is a layer with `layers` of its own. Versions before
3 write `_layer_checkpoint_dependencies` for the first `layers`. An optimizer's tensors
and the state of random generators are no weights, and left out.

The file comes from anywhere: see `keras_h5`.
"""

import re
from pathlib import Path

import h5py
import numpy as np

from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.hdf5 import ForeignContentError, check_self_contained, read_dataset
from tl_pipeline.weights.keras_h5 import MAX_COMPRESSION

_OLD_ROOT = "_layer_checkpoint_dependencies"
_TENSOR = re.compile(r"(layers/.*/)?vars/\d+")


def is_keras_weights_h5(path: Path) -> bool:
    """Tells whether a file has this layout; a damaged one may not."""
    try:
        with h5py.File(path, "r") as file:
            return "layer_names" not in file.attrs and bool(
                {"layers", _OLD_ROOT} & set(file)
            )
    # h5py meets bad bytes with nearly every built-in exception there is.
    except Exception:
        return False


def read_keras_weights_h5(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays of a `.weights.h5` file by the way to them.

    Raises:
      WeightsError: The file is truncated, damaged, or refers to anything outside
        itself.
    """
    arrays: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            check_self_contained(file, kinds="fiub", most_packing=MAX_COMPRESSION)
            datasets: dict[str, h5py.Dataset] = {}

            def note(name: str, item: object) -> None:
                if isinstance(item, h5py.Dataset):
                    datasets[name] = item

            file.visititems(note)
            for name, dataset in datasets.items():
                stable = re.sub(f"^{_OLD_ROOT}/", "layers/", name)
                if not _TENSOR.fullmatch(stable) or "/seed_generator/" in stable:
                    continue
                if stable in arrays:
                    raise ForeignContentError(name, "it is there twice")
                arrays[stable] = read_dataset(dataset)
    except ForeignContentError as error:
        raise WeightsError(
            f"Weights {path} are refused: {shorten(error)}. A weights file must hold "
            "all of its own numbers; save it anew."
        ) from None
    except Exception as error:
        raise WeightsError(
            f"Weights {path} are no whole HDF5 file ({shorten(error)}): it may be "
            "truncated; copy or download it again."
        ) from error
    return arrays, {}
