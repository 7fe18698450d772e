"""A dataset before its bytes are read: which examples there are, and where.

An id is the path within the dataset, Unicode-normalized (NFC) and separated by `/`,
so that the same files have the same ids on every system.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from tl_pipeline.data.stat_cache import Stamp


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One example before its bytes are read.

    Attributes:
      id: Path within the dataset, NFC, `/`-separated.
      file: Absolute path of the file that holds its bytes, as text: making a `Path` of
        each of 100,000 files takes a second, and few are ever opened. Or an address.
      member: `""` for a whole file; else what of the file, and by which recipe. A file
        and a member always stand for the same bytes while the file is unchanged.
      target: The class's name; None where it is unlabeled.
      split: The data's own split, else None.
      group: The group that must not span splits, else None.
      columns: Its text in each of the dataset's further columns, else None.
    """

    id: str
    file: str
    member: str = ""
    target: str | None = None
    split: str | None = None
    group: str | None = None
    columns: tuple[str | None, ...] = ()

    @property
    def path(self) -> Path:
        """The file that holds its bytes."""
        return Path(self.file)


def read_file(item: Item) -> bytes:
    """Returns the whole file of an item.

    Raises:
      OSError: The file is gone or cannot be read.
    """
    return item.path.read_bytes()


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The examples of one source.

    Attributes:
      name: What stores and reports call it.
      source: What was asked for: a path or a built-in's name.
      items: The examples, sorted by id.
      notes: Sentences that the user should read.
      carve_val: Whether the data names train and test but no validation, which is then
        carved from train.
      column_names: Further columns that its items have.
      holds: `"images"` or `"texts"`, or `""` for files of any kind.
      reader: Returns the bytes of an item, or raises `OSError`; it can be pickled.
      stamps: Stamps by `Item.file`, where a listing told them; files have their own.
      readers: Threads that best read it for digests; None for one a core.
      roles: The column, or array, of each role that has one of another than the
        conventional name.
    """

    name: str
    source: str
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()
    carve_val: bool = False
    column_names: tuple[str, ...] = ()
    holds: str = ""
    reader: Callable[[Item], bytes] = dataclasses.field(
        default=read_file, repr=False, compare=False
    )
    stamps: Mapping[str, Stamp] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )
    readers: int | None = None
    roles: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def read(self, item: Item) -> bytes:
        """Returns the bytes of an example, those that its content digest is of.

        Raises:
          OSError: They cannot be had.
        """
        return self.reader(item)
