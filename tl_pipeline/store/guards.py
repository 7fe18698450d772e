"""What an HDF5 file may contain before a byte of its data is believed.

HDF5 can name other files (external links, external storage, virtual datasets), can
name itself (soft links), and can declare far more data than it has; all of this is
read without a word, missing data as zeros. A store's files use none of it, so any of
it is refused, and so is compression, which would hide how much a file declares.
"""

from collections.abc import Iterator

import h5py
import numpy as np

from tl_pipeline.errors import StoreDamagedError

_MAX_DEPTH = 2  # root, features
_FLETCHER32 = h5py.h5z.FILTER_FLETCHER32


def check_contents(file: h5py.File, *, size: int, what: str) -> None:
    """Raises unless a file holds nothing but plain datasets stored in full.

    Args:
      file: The file, open for reading.
      size: Its size in bytes.
      what: How the message names it.

    Raises:
      StoreDamagedError: It holds a link, storage elsewhere, a virtual dataset, a
        filter, or a dataset that declares more than is stored.
    """
    total = 0
    for name, dataset in _walk(file, "", what, depth=1):
        where = f"{what}: dataset {name}"
        properties = dataset.id.get_create_plist()
        if dataset.is_virtual or dataset.external:
            raise StoreDamagedError(
                f"{where} takes its data from elsewhere, which no file of a store "
                "does: it was made by someone else. Do not use it."
            )
        if dataset.dtype.kind not in "fuS" or dataset.shape is None:
            raise StoreDamagedError(
                f"{where} has type {dataset.dtype}, which no file of a store has."
            )
        filters = [
            properties.get_filter(i)[0] for i in range(properties.get_nfilters())
        ]
        if any(code != _FLETCHER32 for code in filters):
            raise StoreDamagedError(
                f"{where} goes through a filter, which no file of a store does."
            )
        # Python integers: a declared shape may be anything.
        declared = dataset.dtype.itemsize
        for length in dataset.shape:
            declared *= int(length)
        total += declared
        if total > size or dataset.id.get_storage_size() < declared:
            raise StoreDamagedError(
                f"{where} declares {declared:,} bytes of shape {list(dataset.shape)}; "
                f"the file has {size:,} bytes and does not hold them all."
            )


def _walk(
    group: h5py.Group, prefix: str, what: str, *, depth: int
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields every dataset, and refuses what is neither dataset nor group."""
    for name in group:
        where = f"{prefix}/{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise StoreDamagedError(
                f"{what}: {where} is a link, which no file of a store has: it was made "
                "by someone else. Do not use it."
            )
        item = group[name]
        if isinstance(item, h5py.Dataset):
            yield where, item
        elif isinstance(item, h5py.Group) and depth < _MAX_DEPTH:
            yield from _walk(item, where, what, depth=depth + 1)
        else:
            raise StoreDamagedError(
                f"{what}: {where} is neither a dataset nor a group of them."
            )


def read_text(file: h5py.File, name: str, *, what: str) -> str:
    """Returns a text attribute at the root of a file.

    Raises:
      StoreDamagedError: It is absent, or no text of fixed length in UTF-8: of variable
        length it could lead HDF5 round in circles, so that is not even read.
    """
    if name in file.attrs:
        kind = h5py.check_string_dtype(file.attrs.get_id(name).dtype)
        if kind and kind.length is not None:
            value = file.attrs[name]
            try:
                if isinstance(value, bytes):
                    return value.decode()
            except UnicodeDecodeError:
                pass
    raise StoreDamagedError(
        f"{what} has no text attribute {name} as a store writes it."
    )


def check_dataset(
    file: h5py.File, name: str, *, shape: tuple[int, ...], dtype: str, what: str
) -> h5py.Dataset:
    """Returns a dataset of a file, of just this shape and dtype.

    Raises:
      StoreDamagedError: It is absent, or has another shape or dtype.
    """
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise StoreDamagedError(f"{what} has no dataset {name}.")
    if dataset.shape != shape or dataset.dtype != np.dtype(dtype):
        raise StoreDamagedError(
            f"{what}: dataset {name} is {dataset.dtype} {list(dataset.shape)}; the "
            f"manifest has {dtype} {list(shape)}."
        )
    return dataset
