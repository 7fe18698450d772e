"""Committed files of a store in a bucket, read from local copies of its objects."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tl_pipeline.digest import bytes_digest
from tl_pipeline.errors import StoreDamagedError, StoreError
from tl_pipeline.object_copies import (
    LIMIT_GB,
    WrongBytesError,
    drop_copy,
    fetch_copy,
)
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place

T = TypeVar("T")
_TRIES = 8  # many readers may share a cache that is smaller than what they read


def read_copy(
    path: ObjectPath,
    sha256: str,
    size: int,
    read: Callable[[Path], T],
    *,
    start: int | None = None,
) -> T:
    """Reads a local copy of an object; one that is damaged or gone is fetched again.

    Args:
      path: The object.
      sha256: The digest that its bytes, or some of them, are to have.
      size: How many they are.
      read: Reads them out of the copy.
      start: The first of the bytes, where they are not all.

    Raises:
      FileNotFoundError: There is no such object.
      StoreDamagedError: It holds other bytes.
      ServerError: It cannot be read.
    """
    was_damaged = False
    for tries_left in reversed(range(_TRIES)):
        try:
            copy = fetch_copy(path, sha256=sha256, size=size, start=start)
        except WrongBytesError as error:
            raise damaged(path, str(error)) from None
        try:
            return read(copy)
        except FileNotFoundError as error:  # others took its room just now
            if not tries_left:
                raise StoreError(
                    f"The local copy of {path} is gone again and again: other "
                    f"processes need its room. Allow more of it by {LIMIT_GB}."
                ) from error
        except StoreDamagedError as error:
            drop_copy(copy.name)
            if was_damaged or not tries_left:
                said = str(error).replace(str(copy), str(path))
                raise StoreDamagedError(said) from None
            was_damaged = True
    raise AssertionError("the last try returns or raises")


def read_original(path: ObjectPath, *, sha256: str, size: int) -> bytes:
    """Reads an object's own bytes, whatever copy there is; raises as `read_copy`."""
    data = path.read_bytes()
    if len(data) != size:
        raise damaged(path, f"it has {len(data):,} bytes instead of {size:,}")
    if bytes_digest(data) != sha256:
        raise damaged(path, "its SHA-256 is not the committed one")
    return data


def damaged(path: Place, why: str) -> StoreDamagedError:
    """Returns the error of a committed file that is not as it was committed."""
    return StoreDamagedError(
        f"{path} is damaged: {why}. Restore the file from a copy, or delete the store "
        "and extract again; `tl-pipeline store verify` lists every problem."
    )
