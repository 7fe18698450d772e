"""What an HDF5 file from anywhere must be before its numbers are believed.

HDF5 can name other files (external links, external storage, virtual datasets), can
name itself (soft links), and can declare far more data than it has; all of this is
read without a word, missing data as zeros. Where a chunk unpacks to less than it
should, whatever stands behind it in memory is read.
"""

import math
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

MAX_OBJECTS = 100_000
MAX_CHUNK_BYTES = 2**28  # what one row may cost in memory
# What h5py packs with, in the order in which values go through it.
_SHUFFLE, _CHECKSUM = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
_GZIP, _LZF = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF
_ORDER = (_SHUFFLE, _GZIP, _LZF, _CHECKSUM)


class ForeignContentError(Exception):
    """An object that is not wholly in its file.

    Attributes:
      name: The object's path in the file.
      found: What is wrong with it, as in "NAME: it is a link".
    """

    def __init__(self, name: str, found: str):
        """Takes the object's path and what is wrong with it."""
        super().__init__(f"{name}: {found}")
        self.name, self.found = name, found


def check_self_contained(
    file: h5py.File, *, kinds: str, most_packing: int, texts: bool = False
) -> None:
    """Raises unless every object is in the file, and as large as it says.

    Args:
      file: The file, open for reading.
      kinds: NumPy's letters of the dtypes that a dataset may have.
      most_packing: By how much a filter may have made a dataset smaller.
      texts: Whether datasets of variable-length text are welcome.

    Raises:
      ForeignContentError: A soft or external link, external or virtual storage, another
        dtype, filters that h5py does not write, or a dataset that declares more than
        the file holds.
    """
    size = file.id.get_filesize()
    stored, seen = 0, set[int]()  # addresses: a dataset may have several names
    for name, item in _walk(file):
        if isinstance(item, h5py.Dataset):
            _check_dataset(item, name, kinds, most_packing, texts)
            if (address := _address(item)) not in seen:
                seen.add(address)
                stored += item.id.get_storage_size()
            if stored > size:
                raise ForeignContentError(name, "it shares its bytes with others")


def read_dataset(dataset: h5py.Dataset) -> np.ndarray:
    """Reads a dataset of a file that is self-contained, once its chunks are checked.

    Raises:
      ForeignContentError: A chunk does not unpack to its size, or there are no values.
    """
    if dataset.shape is None:
        raise ForeignContentError(str(dataset.name), "it has no values")
    if dataset.chunks is not None:
        for info in _list_chunks(dataset):
            check_chunk(dataset, info.chunk_offset)
    return dataset[()]


def check_chunk(dataset: h5py.Dataset, place: tuple[int, ...]) -> None:
    """Raises unless a chunk unpacks to its size.

    Args:
      dataset: Of a file that is self-contained.
      place: Where the chunk begins, a multiple of its sides.

    Raises:
      ForeignContentError: It does not; HDF5 would read on behind it.
    """
    size = _chunk_size(dataset)
    info = dataset.id.get_chunk_info_by_coord(place)
    found = -1
    if info.byte_offset is not None and info.size <= dataset.file.id.get_filesize():
        skipped, data = dataset.id.read_direct_chunk(place)
        found = _unpacked_size(data, size, _filters(dataset), skipped)
    if found != size:
        name = str(dataset.name)
        raise ForeignContentError(name, "a chunk does not unpack to its size")


def _unpacked_size(data: bytes, limit: int, filters: list[int], skipped: int) -> int:
    """Returns how many bytes a chunk has before its filters; -1 for damage."""
    for i in reversed(range(len(filters))):
        if skipped >> i & 1 or filters[i] == _SHUFFLE:
            continue
        if filters[i] == _CHECKSUM:
            data = data[:-4]
        elif filters[i] == _LZF:
            return _lzf_size(data)
        else:
            inflater = zlib.decompressobj()
            try:
                data = inflater.decompress(data, limit + 1)
            except zlib.error:
                return -1
            if not inflater.eof:
                return -1
    return len(data)


def _lzf_size(data: bytes) -> int:
    """Returns how many bytes LZF's codes stand for: runs, and copies of what was."""
    at = size = 0
    while at < len(data):
        code = data[at]
        if code < 32:
            size += code + 1
            at += code + 2
        else:
            is_long = code >> 5 == 7
            size += (code >> 5) + 2 + (sum(data[at + 1 : at + 2]) if is_long else 0)
            at += 3 if is_long else 2
    return size if at == len(data) else -1


def _chunk_size(dataset: h5py.Dataset) -> int:
    # A text's place is stored: its length, its heap's address and its index there.
    is_text = dataset.dtype.kind == "O"
    itemsize = 8 + dataset.file.id.get_create_plist().get_sizes()[0] if is_text else 0
    return math.prod(dataset.chunks or ()) * (itemsize or dataset.dtype.itemsize)


def _list_chunks(dataset: h5py.Dataset) -> list[Any]:
    infos: list[Any] = []
    # One visit a chunk: to ask for the i-th searches from the first.
    dataset.id.chunk_iter(infos.append)
    return infos


def _filters(dataset: h5py.Dataset) -> list[int]:
    created = dataset.id.get_create_plist()
    return [created.get_filter(i)[0] for i in range(created.get_nfilters())]


def _check_dataset(
    dataset: h5py.Dataset, name: str, kinds: str, most_packing: int, texts: bool
) -> None:
    if dataset.external:
        raise ForeignContentError(name, "its values are in another file")
    if dataset.is_virtual:
        raise ForeignContentError(name, "it is a view of other datasets")
    is_text = texts and h5py.check_string_dtype(dataset.dtype) is not None
    if dataset.dtype.kind not in kinds and not is_text:
        raise ForeignContentError(name, f"its dtype is {dataset.dtype}")
    kind = dataset.id.get_type()
    if isinstance(kind, h5py.h5t.TypeFloatID | h5py.h5t.TypeIntegerID):
        # HDF5 converts numbers of odd layouts, which nobody writes on purpose.
        if not kind.equal(h5py.h5t.py_create(dataset.dtype, logical=True)):
            raise ForeignContentError(name, f"it is not stored as {dataset.dtype}")
    filters = _filters(dataset)
    if filters != [filter for filter in _ORDER if filter in filters] or (
        _GZIP in filters and _LZF in filters
    ):
        raise ForeignContentError(name, "it is packed otherwise than h5py packs")
    # Python integers: a declared shape may be anything.
    shape = [int(length) for length in dataset.shape or (0,)]
    declared = math.prod(shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    # Without a filter all bytes must be there: HDF5 reads those that are not as zeros.
    if declared > (stored * most_packing if filters else stored):
        raise ForeignContentError(
            name, f"it declares {declared:,} bytes and the file holds {stored:,}"
        )
    if dataset.chunks is not None:
        _check_chunks(dataset, name)


def _check_chunks(dataset: h5py.Dataset, name: str) -> None:
    if (n_bytes := _chunk_size(dataset)) > MAX_CHUNK_BYTES:
        raise ForeignContentError(
            name,
            f"it has chunks of {n_bytes:,} bytes, more than {MAX_CHUNK_BYTES:,}",
        )
    lengths = [int(length) for length in dataset.shape]
    sides = dataset.chunks or ()
    wanted = math.prod(-(-n // side) for n, side in zip(lengths, sides, strict=True))
    places = {info.chunk_offset for info in _list_chunks(dataset)}
    written = sum(
        all(
            at < n and at % side == 0
            for at, n, side in zip(place, lengths, sides, strict=True)
        )
        for place in places
    )
    # HDF5 reads what was never written as zeros, or as another fill value.
    if not written == len(places) == wanted:
        raise ForeignContentError(name, f"{written:,} of {wanted:,} chunks are written")


def _walk(file: h5py.File) -> Iterator[tuple[str, object]]:
    """Yields every object by its path, each group once, links refused."""
    seen = {_address(file)}
    waiting: list[h5py.Group] = [file]
    n_objects = 0
    while waiting:
        group = waiting.pop()
        for key in group.keys():  # noqa: SIM118
            name = f"{group.name}/{key}".replace("//", "/")
            n_objects += 1
            if n_objects > MAX_OBJECTS:
                raise ForeignContentError(
                    name, f"the file holds more than {MAX_OBJECTS:,} objects"
                )
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                found = f"it is a link ({type(link).__name__})"
                raise ForeignContentError(name, found)
            item = group[key]
            yield name, item
            if isinstance(item, h5py.Group):
                address = _address(item)
                if address not in seen:  # hard links may form a circle
                    seen.add(address)
                    waiting.append(item)


def _address(item: h5py.HLObject) -> int:
    """Returns where an object is in its file: the same for all of its names."""
    return h5py.h5o.get_info(item.id).addr  # pyright: ignore[reportAttributeAccessIssue]
