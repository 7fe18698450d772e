"""Named arrays of an HDF5 file: the datasets that stand at its root."""

import itertools
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

from tl_pipeline.hdf5 import check_chunk, check_self_contained, read_dataset

# Deflate's own limit is 1,032 to 1; blank images come near it.
MAX_PACKING = 1_100
MAX_TEXT_BYTES = 2**30  # of all texts of a dataset
# A text's place in the file (HDF5 file format 3.0, section VIII.B, "Global Heap ID").
_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])


class Hdf5File:
    """An HDF5 file of which one row is read at a time."""

    def __init__(self, path: Path):
        """Lists the datasets at the root, and holds the file open for reading.

        Raises:
          ForeignContentError: The file holds links, virtual or external storage, or a
            dataset that declares more than is stored.
          OSError: It is no HDF5 file, or cannot be read.
        """
        # HDF5 is no safer in threads than its one lock makes it.
        self._lock = threading.Lock()
        self._path = path
        self._file = h5py.File(path, "r")
        try:
            self.arrays = _list_datasets(self._file)
        except BaseException:
            self._file.close()
            raise

    def read(self, name: str) -> np.ndarray:
        """Reads a dataset whole; text stays bytes."""
        with self._lock:
            dataset = self._file[name]
            assert isinstance(dataset, h5py.Dataset)
            if dataset.dtype.kind == "O":
                self._check_lengths(dataset)
            return read_dataset(dataset)

    def rows(self, name: str) -> Callable[[int], np.ndarray]:
        """Returns what reads one row."""
        dataset = self._file[name]
        assert isinstance(dataset, h5py.Dataset)
        checked: set[int] = set()

        def read_row(row: int) -> np.ndarray:
            with self._lock:
                check_chunks_of(row)
                return dataset[row]

        def check_chunks_of(row: int) -> None:
            sides = dataset.chunks
            if sides is None or (first := row - row % sides[0]) in checked:
                return
            ranges = [
                range(0, n, side)
                for n, side in zip(dataset.shape[1:], sides[1:], strict=True)
            ]
            for place in itertools.product((first,), *ranges):
                check_chunk(dataset, place)
            checked.add(first)

        return read_row

    def _check_lengths(self, dataset: h5py.Dataset) -> None:
        """Raises unless all texts together are as long as the file can hold.

        HDF5 allocates what a text declares, up to 4 GiB, before it looks for it.
        """
        created = dataset.id.get_create_plist()
        if (
            created.get_nfilters()
            or self._file.id.get_create_plist().get_sizes()[0] != 8
        ):
            raise ValueError(
                "its texts are packed; save them plain, or of fixed length"
            )
        if dataset.chunks is None:
            places = [(dataset.id.get_offset(), dataset.id.get_storage_size())]
        else:
            infos = map(dataset.id.get_chunk_info, range(dataset.id.get_num_chunks()))
            places = [(info.byte_offset, info.size) for info in infos]
        size = self._path.stat().st_size
        total = 0
        with self._path.open("rb") as file:
            for offset, n_bytes in places:
                if offset is None or offset + n_bytes > size:
                    raise ValueError("its texts are not where they should be")
                file.seek(offset)
                lengths = np.frombuffer(file.read(n_bytes), _REFERENCE)["length"]
                total += int(lengths.sum(dtype=np.int64))
                if lengths.max(initial=0) > size or total > MAX_TEXT_BYTES:
                    raise ValueError(
                        f"it declares {total:,} bytes of text or more; the file has "
                        f"{size:,}, and at most {MAX_TEXT_BYTES:,} are read"
                    )


def _list_datasets(
    file: h5py.File,
) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
    check_self_contained(file, kinds="fiubSV", most_packing=MAX_PACKING, texts=True)
    arrays = {}
    for name, item in file.items():
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            arrays[name] = (item.shape, item.dtype)
    return arrays
