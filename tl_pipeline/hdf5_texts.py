"""Texts of variable length in HDF5 files, checked before HDF5 looks for them.

Such a text stands in a heap, and its length beside each mention of it. HDF5 allocates
and clears what the mention says, up to 4 GiB, before it asks the heap; and in a heap
where an object takes no room it walks on the spot for ever.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from tl_pipeline.hdf5 import ForeignContentError

MAX_TEXT_BYTES = 2**30  # of all texts that are read together
MAX_MESSAGE = 2**16  # bytes of an attribute in an object header
_PIECE = 2**24
_HEAP = b"GCOL\x01"
_OBJECT = 16  # bytes of an object's header in a heap
# A text's place in the file (HDF5 file format 3.0, section VIII.B, "Global Heap ID").
_MENTION = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])


def check_heaps(file: h5py.File) -> bool:
    """Raises unless every heap of texts can be walked to its end.

    Returns:
      Whether there are any.

    Raises:
      ForeignContentError: A heap is damaged.
    """
    path = Path(file.filename)
    heaps = list(_find(path, _HEAP))
    if heaps and file.id.get_create_plist().get_sizes() != (8, 8):
        raise ForeignContentError("/", "its addresses are not of 8 bytes")
    size = path.stat().st_size
    with path.open("rb") as opened:
        for at in heaps:
            opened.seek(at + 8)
            length = int.from_bytes(opened.read(8), "little")
            opened.seek(at)
            if at + length > size or not _is_whole(opened.read(length)):
                raise ForeignContentError("/", f"its heap at byte {at:,} is damaged")
    return bool(heaps)


def check_attribute_texts(file: h5py.File, names: Sequence[str]) -> None:
    """Raises unless the texts of attributes are as long as the file can hold.

    HDF5 does not tell where an attribute is, but it follows its name in the file.

    Args:
      file: The file, open for reading.
      names: How the attributes' names begin.

    Raises:
      ForeignContentError: A heap is damaged, or texts are declared that are too long.
    """
    if not check_heaps(file):
        return
    path = Path(file.filename)
    lengths: list[np.ndarray] = []
    with path.open("rb") as opened:
        for at in (at for name in names for at in _find(path, name.encode())):
            opened.seek(max(at - 9, 0))
            lengths.append(_read_mentions(opened.read(2 * MAX_MESSAGE)))
    if lengths:
        _check_lengths(np.concatenate(lengths), path, "/")


def read_text_attribute(item: h5py.HLObject, name: str) -> list[str]:
    """Reads an attribute that is a list of texts.

    Args:
      item: Of a file whose attributes of that name are checked.
      name: The attribute's.

    Raises:
      ForeignContentError: It is no list of texts, or has too many.
    """
    attribute = item.attrs.get_id(name)
    shape, dtype = attribute.shape, attribute.dtype
    if shape == (0,):  # of any dtype: h5py does not know whereof a list has nothing
        return []
    where = f"{item.name}: attribute {name}"
    is_text = dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None
    if shape is None or len(shape) != 1 or not is_text:
        raise ForeignContentError(where, "it is no list of names")
    if attribute.get_storage_size() > MAX_MESSAGE:
        raise ForeignContentError(where, f"it has more than {MAX_MESSAGE:,} bytes")
    return [
        text.decode() if isinstance(text, bytes) else str(text)
        for text in np.asarray(item.attrs[name]).tolist()
    ]


def _check_lengths(lengths: np.ndarray, path: Path, name: str) -> None:
    size, total = path.stat().st_size, int(lengths.sum())
    if lengths.max(initial=0) > size or total > MAX_TEXT_BYTES:
        raise ForeignContentError(
            name,
            f"it declares {total:,} bytes of text; the file has {size:,}, and at most "
            f"{MAX_TEXT_BYTES:,} are read",
        )


def _read_mentions(data: bytes) -> np.ndarray:
    """Returns the lengths that an attribute mentions (section IV.A.2.m).

    Args:
      data: From 9 bytes before its name on.
    """
    head = 1 if data[1] in (1, 2) else 0  # the third has a byte more before the name
    sizes = np.frombuffer(data, "<u2", 3, head + 2).tolist()
    if data[9 : 9 + sizes[0]].find(b"\0") != sizes[0] - 1:
        return np.zeros(0, np.int64)  # the name of something else
    if head and data[1] == 1:
        sizes = [size + -size % 8 for size in sizes]
    space = 9 + sizes[0] + sizes[1]
    at = space + (8 if data[space : space + 1] == b"\1" else 4)
    n = int.from_bytes(data[at : at + 8], "little") if data[space + 1] else 1
    begin = space + sizes[2]
    n = min(n, max(len(data) - begin, 0) // _MENTION.itemsize)
    # Fixed texts are no mentions: class 9, of variable length, or one that is shared.
    if data[9 + sizes[0]] & 15 == 3:
        n = 0
    found = np.frombuffer(data[begin : begin + n * _MENTION.itemsize], _MENTION)
    return found["length"].astype(np.int64)


def _is_whole(heap: bytes) -> bool:
    """Tells whether a heap's objects follow each other to its end (section III.E)."""
    at = _OBJECT
    while len(heap) - at >= _OBJECT:
        index = int.from_bytes(heap[at : at + 2], "little")
        size = int.from_bytes(heap[at + 8 : at + 16], "little")
        # What is free is object 0, and counts its header; others are filled up to 8.
        step = _OBJECT + size + -size % 8 if index else size
        if step < _OBJECT or at + step > len(heap):
            return False
        at += step
    return True


def _find(path: Path, word: bytes) -> Iterator[int]:
    """Yields where a word stands in a file, which is not held in memory whole."""
    # Not a memory map: a file that is cut short meanwhile would kill the process.
    with path.open("rb") as file:
        begin, data = 0, b""
        while piece := file.read(_PIECE):
            data += piece
            at = data.find(word)
            while at >= 0:
                yield begin + at
                at = data.find(word, at + 1)
            keep = len(word) - 1
            begin += len(data) - keep
            data = data[-keep:]
