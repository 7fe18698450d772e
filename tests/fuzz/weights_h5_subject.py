"""Mutants of Keras 3's `.weights.h5`: the numbers that are in the file, or a reason."""

import io
import random
from pathlib import Path

import h5py
import numpy as np
from hdf5_mutants import mutate_hdf5
from keras_subject import Keras, read_plainly
from verdicts import Wrong, check_message

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors


def make_weights(libver: str) -> bytes:
    """Writes what `Model.save_weights` does, in small."""
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as opened:
        opened.attrs["_layer_checkpoint_dependencies"] = "{}"
        for layer, shapes in {
            "conv2d": [(3, 3, 2, 4), (4,)],
            "dense": [(16, 5), (5,)],
            "dropout/seed_generator": [(2,)],
        }.items():
            group = opened.create_group(f"layers/{layer}/vars")
            for i, shape in enumerate(shapes):
                group[str(i)] = rng.standard_normal(shape, np.float32)
        opened.create_group("vars")
    return file.getvalue()


class WeightsH5(Keras):
    def __init__(self, folder: Path):
        super().__init__(folder)
        self.path = folder / "w.weights.h5"
        self.files = [make_weights("earliest"), make_weights("latest")]

    def make(self, rng: random.Random) -> bytes:
        return mutate_hdf5(rng, rng.choice(self.files), self.files, self.outside)

    def check(self, data: bytes) -> str:
        self.path.write_bytes(data)
        try:
            tensors = load_tensors(self.path)
        except WeightsError as error:
            check_message(error, self.path)
            return "refused"
        with h5py.File(self.path, "r") as file:
            for name, array in tensors.arrays.items():
                dataset = file[name]
                stored = read_plainly(dataset, data)
                if array.shape != dataset.shape or array.tobytes() != stored:
                    raise Wrong(f"{name}: not the numbers in the file")
        return "accepted"


def open_subject(folder: Path) -> WeightsH5:
    return WeightsH5(folder)
