"""Reading the legacy Keras weights layout, as `keras.applications` publishes it.

The root (or its group `model_weights`, in a whole saved model) lists `layer_names`;
each layer's group lists `weight_names`, paths of datasets below it. A tensor is called
`LAYER/LEAF` here, as in `Conv1/kernel`: the layer and the last word of the weight's
path without its `:0`, since what stands between varies with Keras' version.

The file comes from anywhere, so nothing is followed out of it and nothing is read that
its bytes do not hold.
"""

from pathlib import Path
from typing import TypeVar

import h5py
import numpy as np

from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.hdf5 import ForeignContentError, check_self_contained, read_dataset
from tl_pipeline.hdf5_texts import check_attribute_texts, read_text_attribute

# HDF5's filters pack floats by far less; more is a file that wants to fill memory.
MAX_COMPRESSION = 100
_LAYERS, _WEIGHTS = "layer_names", "weight_names"

_Kind = TypeVar("_Kind", h5py.Group, h5py.Dataset)


def read_keras_h5(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the arrays of a legacy Keras HDF5 file by `LAYER/LEAF`.

    Raises:
      WeightsError: The file is truncated, damaged, of another layout, or refers to
        anything outside itself.
    """
    try:
        with h5py.File(path, "r") as file:
            check_self_contained(file, kinds="fiub", most_packing=MAX_COMPRESSION)
            check_attribute_texts(file, (_LAYERS, _WEIGHTS))
            return _read_layers(file, path), {}
    except WeightsError:
        raise
    except ForeignContentError as error:
        raise _refusal(path, error.name, error.found) from None
    # h5py meets bad bytes with nearly every built-in exception there is.
    except Exception as error:
        raise WeightsError(
            f"Weights {path} are no whole HDF5 file ({shorten(error)}): it may be "
            "truncated; copy or download it again."
        ) from error


def _read_layers(file: h5py.File, path: Path) -> dict[str, np.ndarray]:
    saved_model = "model_weights" in file
    root = _get(file, "model_weights", h5py.Group, path) if saved_model else file
    layers = _read_names(root, _LAYERS)
    if layers is None:
        raise WeightsError(
            f"Weights {path} are in no layout of Keras: it lists no layers. Give a "
            "file as keras.applications publishes them, or of Model.save_weights."
        )
    arrays: dict[str, np.ndarray] = {}
    for layer in layers:
        group = _get(root, layer, h5py.Group, path)
        for weight in _read_names(group, _WEIGHTS) or []:
            # A model used as a layer repeats leaves: there only the path tells.
            name = f"{layer}/{weight.rpartition('/')[2].removesuffix(':0')}"
            name = name if name not in arrays else weight.removesuffix(":0")
            if name in arrays:
                raise _refusal(path, name, "it is there twice")
            arrays[name] = read_dataset(_get(group, weight, h5py.Dataset, path))
    return arrays


def _get(group: h5py.Group, name: str, kind: type[_Kind], path: Path) -> _Kind:
    item = group[name]
    if not isinstance(item, kind):
        raise _refusal(path, name, f"it is no {kind.__name__.lower()}")
    return item


def _read_names(group: h5py.Group, attribute: str) -> list[str] | None:
    """Returns a list of names; Keras cuts long ones into attribute0, attribute1, ..."""
    if attribute in group.attrs:
        return read_text_attribute(group, attribute)
    names: list[str] = []
    part = 0
    while f"{attribute}{part}" in group.attrs:
        names += read_text_attribute(group, f"{attribute}{part}")
        part += 1
    return names if part else None


def _refusal(path: Path, name: str, found: str) -> WeightsError:
    return WeightsError(
        f"Weights {path} are refused: {shorten(name)}: {found}. A weights file must "
        "hold all of its own numbers; save it anew."
    )
