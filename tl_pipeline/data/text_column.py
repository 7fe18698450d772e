"""A table's column of texts: what reads each as the bytes that it is.

A text is its UTF-8 bytes, as the table holds them: they are what its content digest is
of, and one that is no UTF-8, or none at all, fails when it is decoded, as a file would.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_pipeline.data.dataset import Item
from tl_pipeline.data.object_listing import copy_table
from tl_pipeline.data.problems import Problems
from tl_pipeline.data.stat_cache import Stamp, stamp_file
from tl_pipeline.data.table_files import UnreadableTable, open_table, read_columns
from tl_pipeline.places import Place

RECIPE_VERSION = 1  # change it with anything that changes an example's bytes


def name_member(column: str, row: int) -> str:
    """Returns what `Item.member` says of a text.

    Args:
      column: The column's name.
      row: Which one, from 1.
    """
    return f"text v{RECIPE_VERSION} of {column} row {row}"


class TextReader:
    """Reads one text of a table; the table is read anew where this is sent."""

    def __init__(
        self, path: Place, column: str, stamp: Stamp, texts: Sequence[bytes | None]
    ):
        """Takes the table, the column, and what was read of it.

        Args:
          path: The table.
          column: The column's name.
          stamp: The table's when it was read: it was read whole, and of another that
            took its place these texts are not.
          texts: The column's N values; of a missing one there are no bytes.
        """
        self._asked = path, column, stamp
        self._texts = texts

    def __reduce__(self) -> tuple[Any, ...]:
        return _read_again, self._asked

    def __call__(self, item: Item) -> bytes:
        """Returns the bytes of one text.

        Raises:
          OSError: The table changed since.
        """
        path, _, stamp = self._asked
        # A table in a bucket was copied: what became of it since changes no text.
        if isinstance(path, Path) and stamp_file(path) != stamp:
            raise OSError("the table changed after it was listed")
        return self._texts[int(item.member.rpartition(" ")[2]) - 1] or b""


@functools.lru_cache(maxsize=1)  # one process does many jobs
def _read_again(path: Place, column: str, stamp: Stamp) -> TextReader:
    copy = path if isinstance(path, Path) else copy_table(path)[0]
    try:
        read = read_columns(open_table(copy), (), Problems(""), raw=(column,))
    except UnreadableTable as error:
        raise OSError(str(error)) from error
    return TextReader(path, column, stamp, read.raw[column])
