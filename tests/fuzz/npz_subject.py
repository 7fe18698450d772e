"""Mutants of `.npz`: the arrays that NumPy reads, or a reason."""

import io
import random
from pathlib import Path

import numpy as np
from mutations import mutate_bytes
from torch_subject import mutate_directory
from verdicts import Wrong, check_message

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors


class Npz:
    def __init__(self, folder: Path):
        self.path = folder / "w.npz"
        rng = np.random.default_rng(0)
        arrays = {
            "embedding/kernel": rng.standard_normal((4, 4, 3, 8), np.float32),
            "head/bias": rng.standard_normal(5).astype(np.float16),
            "fortran": np.asfortranarray(rng.standard_normal((3, 5))),
            "step": np.array(7),
            "empty": np.zeros((0, 3), np.float32),
        }
        self.files = []
        for save in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            save(file, **arrays)
            self.files.append(file.getvalue())

    def make(self, rng: random.Random) -> bytes:
        data = rng.choice(self.files)
        if rng.random() < 0.5:
            return mutate_bytes(rng, data, self.files)
        return mutate_directory(rng, data)

    def check(self, data: bytes) -> str:
        self.path.write_bytes(data)
        try:
            arrays = dict(load_tensors(self.path).arrays)
        except WeightsError as error:
            check_message(error, self.path)
            return "refused"
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                said = dict(file)
        except Exception as error:
            raise Wrong(f"NumPy refuses it: {error!r}") from None
        if said.keys() != arrays.keys():
            raise Wrong(f"{set(arrays)} where the file has {set(said)}")
        for name, array in said.items():
            found = arrays[name]
            if found.dtype != array.dtype or found.shape != array.shape:
                raise Wrong(f"{name}: {found.dtype} {found.shape} is not the file's")
            if found.tobytes() != array.tobytes():
                raise Wrong(f"{name}: other values than the file's")
        return "accepted"


def open_subject(folder: Path) -> Npz:
    return Npz(folder)
