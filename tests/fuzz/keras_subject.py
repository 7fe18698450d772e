"""Mutants of Keras' legacy `.h5`: the numbers that stand in the file, or a reason.

A tensor that was read is compared with its bytes as they stand at its offset in the
file, or with its chunks, unpacked here: with what HDF5's own reading does not fill in.
"""

import io
import random
import zlib
from pathlib import Path

import h5py
import numpy as np
from hdf5_mutants import mutate_hdf5
from verdicts import Wrong, check_message

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors


def make_legacy(libver: str, *, packed: bool, nested: bool) -> bytes:
    """Writes what `keras.applications` publishes, in small."""
    rng = np.random.default_rng(0)
    shapes = {
        "input": {},
        "conv": {"conv/kernel:0": (3, 3, 2, 4), "conv/bias:0": (4,)},
        "bn": {"bn/gamma:0": (4,), "bn/moving_mean:0": (4,)},
        "dense": {"dense/kernel:0": (16, 5)},
    }
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as opened:
        root = opened.create_group("model_weights") if nested else opened
        root.attrs["layer_names"] = [name.encode() for name in shapes]
        root.attrs["backend"] = b"jax"
        for layer, weights in shapes.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, shape in weights.items():
                values = rng.standard_normal(shape, np.float32)
                chunks = {"chunks": tuple(max(n // 2, 1) for n in shape)}
                options = {"compression": "gzip", **chunks} if packed else {}
                group.create_dataset(name, data=values, **options)
        if nested:
            opened["optimizer_weights/m"] = np.ones(3)
    return file.getvalue()


def write_outside(folder: Path) -> None:
    """Writes what no weights file may lead to."""
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / "secret.h5", "w") as file:
        file["secret"] = np.full(6, 42, np.float32)
    (folder / "secret.raw").write_bytes(np.full(6, 42, np.float32).tobytes())


class Keras:
    def __init__(self, folder: Path):
        self.path = folder / "w.h5"
        self.outside = folder / "outside"
        write_outside(self.outside)
        self.files = [
            make_legacy("earliest", packed=False, nested=False),
            make_legacy("latest", packed=False, nested=False),
            make_legacy("earliest", packed=True, nested=False),
            make_legacy("latest", packed=True, nested=True),
        ]

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
            root = file.get("model_weights", file)
            datasets = [
                root[layer][weight]
                for layer in names(root, "layer_names")
                for weight in names(root[layer], "weight_names")
            ]
            if len(datasets) != len(tensors.arrays):
                raise Wrong(f"{len(tensors.arrays)} of {len(datasets)} tensors")
            for dataset, array in zip(datasets, tensors.arrays.values(), strict=True):
                stored = read_plainly(dataset, data)
                if array.shape != dataset.shape or array.tobytes() != stored:
                    raise Wrong(f"{dataset.name}: not the numbers in the file")
        return "accepted"


def names(group: h5py.Group, attribute: str) -> list[str]:
    if attribute not in group.attrs and f"{attribute}0" in group.attrs:
        attribute = f"{attribute}0"
    values = np.atleast_1d(group.attrs.get(attribute, [])).tolist()
    return [name.decode() if isinstance(name, bytes) else name for name in values]


def read_plainly(dataset: h5py.Dataset, data: bytes) -> bytes:
    """Returns a dataset's bytes from where they stand in the file.

    Raises:
      Wrong: They stand elsewhere, are not all there, or mean something that the
        dtype does not say.
    """
    if dataset.external or dataset.is_virtual:
        raise Wrong(f"{dataset.name} was read from elsewhere")
    logical = h5py.h5t.py_create(dataset.dtype, logical=True)
    if not dataset.id.get_type().equal(logical):
        raise Wrong(f"{dataset.name} is not stored as {dataset.dtype}")
    n_bytes = dataset.dtype.itemsize * int(np.prod(dataset.shape, dtype=object))
    plist = dataset.id.get_create_plist()
    if plist.get_layout() == h5py.h5d.CHUNKED:
        return read_chunks(dataset, plist, data)
    offset = dataset.id.get_offset()
    if offset is None:  # within the header itself, or nowhere
        if plist.get_layout() != h5py.h5d.COMPACT and n_bytes:
            raise Wrong(f"{dataset.name} has no values")
        return np.asarray(dataset).tobytes()
    if offset + n_bytes > len(data):
        raise Wrong(f"{dataset.name} ends behind the file")
    return data[offset : offset + n_bytes]


def read_chunks(dataset: h5py.Dataset, plist: h5py.h5p.PropDCID, data: bytes) -> bytes:
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not set(codes) <= {h5py.h5z.FILTER_DEFLATE}:
        return np.asarray(dataset).tobytes()  # HDF5's own checks must do
    values = np.zeros(dataset.shape, dataset.dtype)
    seen = np.zeros(dataset.shape, bool)
    for i in range(dataset.id.get_num_chunks()):
        info = dataset.id.get_chunk_info(i)
        if info.byte_offset + info.size > len(data):
            raise Wrong(f"{dataset.name}: a chunk ends behind the file")
        raw = data[info.byte_offset : info.byte_offset + info.size]
        if codes and not info.filter_mask & 1:
            raw = zlib.decompress(raw)
        chunk = np.frombuffer(raw, dataset.dtype).reshape(dataset.chunks)
        place = tuple(
            slice(at, min(at + n, end))
            for at, n, end in zip(
                info.chunk_offset, dataset.chunks, dataset.shape, strict=True
            )
        )
        values[place] = chunk[tuple(slice(s.stop - s.start) for s in place)]
        seen[place] = True
    if not seen.all():
        raise Wrong(f"{dataset.name}: chunks that are not there were made up")
    return values.tobytes()


def open_subject(folder: Path) -> Keras:
    return Keras(folder)
