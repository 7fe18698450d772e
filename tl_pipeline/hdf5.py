"""What an HDF5 file from anywhere must be before its numbers are believed.

HDF5 can name other files (external links, external storage, virtual datasets), can
name itself (soft links), and can declare far more data than it has; all of this is
read without a word, missing data as zeros.
"""

import math
from collections.abc import Iterator

import h5py

MAX_OBJECTS = 100_000


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
        dtype, or a dataset that declares more than the file holds.
    """
    for name, item in _walk(file):
        if isinstance(item, h5py.Dataset):
            _check_dataset(item, name, kinds, most_packing, texts)


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
    # Python integers: a declared shape may be anything.
    shape = [int(length) for length in dataset.shape or (0,)]
    declared = math.prod(shape) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    # Without a filter all bytes must be there: HDF5 reads those that are not as zeros.
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    if declared > (stored * most_packing if packed else stored):
        raise ForeignContentError(
            name, f"it declares {declared:,} bytes and the file holds {stored:,}"
        )


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


def _address(group: h5py.Group) -> int:
    """Returns where a group is in its file: the same for all of its names."""
    return h5py.h5o.get_info(group.id).addr  # pyright: ignore[reportAttributeAccessIssue]
