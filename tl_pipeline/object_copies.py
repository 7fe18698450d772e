"""Copies of objects on the local disk, in this user's folder of caches, bounded.

A copy's name is the digest of its bytes, so that several stores, and processes, share
it. It is checked when it is fetched, takes its name by one rename, and is dropped, the
longest unused first, where copies would take more than the limit; a file that a
process has open stays readable to it. Nothing is lost with a copy: it is fetched again.

`TL_PIPELINE_CACHE_GB` sets the limit; 0 keeps no more than the copy in use.
"""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tl_pipeline.digest import bytes_digest
from tl_pipeline.errors import RequestError, StoreError
from tl_pipeline.files import TEMPORARY_PREFIX, cache_folder
from tl_pipeline.object_paths import Listed, ObjectPath

LIMIT_GB = "TL_PIPELINE_CACHE_GB"
DEFAULT_GB = 20.0
_TOUCH_SECONDS = 60.0  # recency need not be finer, and each touch is a write
_LOOK_SECONDS = 1.0  # what other processes add is seen so late
_ABANDONED_SECONDS = 3600.0  # of a temporary file: its writer was killed
_USED = ".used"  # beside a copy: an empty file, whose time is that of the last use


class WrongBytesError(Exception):
    """An object does not hold what it should; its text says how."""


def fetch_copy(
    path: ObjectPath, *, sha256: str, size: int, start: int | None = None
) -> Path:
    """Returns a local copy of an object, or of some of its bytes.

    Args:
      path: The object.
      sha256: The digest that the bytes are to have.
      size: How many they are.
      start: The first one, where they are not all.

    Raises:
      FileNotFoundError: There is no such object.
      WrongBytesError: It holds other bytes.
      StoreError: The copy cannot be written.
      OSError: The object cannot be read.
    """
    found = find_copy(sha256, size)
    if found is not None:
        return found
    data = path.read_bytes() if start is None else path.read_range(start, size)
    if len(data) != size:
        raise WrongBytesError(f"it has {len(data):,} bytes instead of {size:,}")
    if bytes_digest(data) != sha256:
        raise WrongBytesError("its SHA-256 is not the committed one")
    return _write(sha256, data)


def fetch_version(listed: Listed, *, suffix: str) -> Path:
    """Returns a local copy of an object whose digest nobody knows.

    Args:
      listed: The object, and the version of it that is wanted.
      suffix: What the copy's name ends in.

    Raises:
      OSError: As `fetch_copy`; or the object changed after it was listed.
    """
    version = f"{listed.path}\n{listed.etag}\n{listed.modified_ns}"
    name = bytes_digest(version.encode()) + suffix
    found = find_copy(name, listed.size)
    if found is not None:
        return found
    data = listed.path.read_bytes()
    if listed.path.look() != listed or len(data) != listed.size:
        raise OSError(f"{listed.path} changed while it was read")
    return _write(name, data)


def find_copy(name: str, size: int) -> Path | None:
    """Returns the copy of a name and size, if there is one, and counts it as used."""
    copy = _folder() / name
    try:
        if copy.stat().st_size != size:
            return None
    except OSError:
        return None
    _touch(copy)
    return copy


def keep_copy(sha256: str, data: bytes | memoryview) -> None:
    """Keeps a copy of what was just put, if the disk will have it."""
    with contextlib.suppress(StoreError):
        _write(sha256, data)


def drop_copy(name: str) -> None:
    """Removes a copy that turned out to be damaged."""
    for file in (_folder() / name, _folder() / f"{name}{_USED}"):
        file.unlink(missing_ok=True)


def copy_limit() -> int:
    """Returns how many bytes all copies may take.

    Raises:
      RequestError: The environment says something that is no such number.
    """
    said = os.environ.get(LIMIT_GB, "")
    try:
        gigabytes = float(said) if said else DEFAULT_GB
        if gigabytes >= 0:
            return int(gigabytes * 1e9)
    except (ValueError, OverflowError):
        pass
    raise RequestError(
        f"Asked for a cache of {LIMIT_GB}={said}: it is a number of gigabytes, such as "
        f"{DEFAULT_GB:g}."
    )


def _folder() -> Path:
    return cache_folder("objects")


_touched: dict[Path, float] = {}
_filled: dict[Path, tuple[float, int]] = {}  # by folder: the last look, bytes since
_writing = threading.Lock()


def _touch(copy: Path) -> None:
    """Notes a use: not on the copy, whose times tell whether it is the one checked."""
    now = time.monotonic()
    if now - _touched.get(copy, -_TOUCH_SECONDS) >= _TOUCH_SECONDS:
        _touched[copy] = now
        with contextlib.suppress(OSError):
            copy.with_name(copy.name + _USED).touch()


def _write(name: str, data: bytes | memoryview) -> Path:
    copy = _folder() / name
    temporary = copy.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        with _writing:
            copy.parent.mkdir(parents=True, exist_ok=True)
            _make_room(copy, len(data))
        try:
            # Unsynced: what a crash leaves is checked again, and fetched again.
            temporary.write_bytes(data)
            temporary.replace(copy)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"A copy of an object cannot be written to {copy.parent} "
            f"({error.strerror or error}). Free some of that disk, or name another "
            "folder by XDG_CACHE_HOME."
        ) from error
    _touched.pop(copy, None)
    _touch(copy)
    return copy


def _make_room(copy: Path, size: int) -> None:
    """Drops the longest unused copies until one more fits."""
    limit, folder = copy_limit(), copy.parent
    now = time.monotonic()
    looked, filled = _filled.get(folder, (-_LOOK_SECONDS, 0))
    if now - looked >= _LOOK_SECONDS or filled + size > limit:
        looked = now
        copies = sorted(_list_copies(folder, spare=copy.name))
        filled = sum(found for _, found, _ in copies)
        # Room for more than this one, or every further one would look again.
        wanted = max(0, limit - size - limit // 10)
        if filled + size > limit:
            for _, found, name in copies:
                if filled <= wanted:
                    break
                drop_copy(name)
                filled -= found
    _filled[folder] = looked, filled + size


def _list_copies(folder: Path, *, spare: str) -> Iterator[tuple[float, int, str]]:
    """Yields (last use, size, name) of each copy but one."""
    sizes: dict[str, int] = {}
    times: dict[str, float] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                found = entry.stat()
            except FileNotFoundError:
                continue
            if entry.name.startswith(TEMPORARY_PREFIX):
                if time.time() - found.st_mtime > _ABANDONED_SECONDS:
                    Path(entry.path).unlink(missing_ok=True)
                continue
            name = entry.name.removesuffix(_USED)
            times[name] = max(times.get(name, 0.0), found.st_mtime)
            if name == entry.name and name != spare:
                sizes[name] = found.st_size
    for name in times.keys() - sizes.keys() - {spare}:  # a note without its copy
        (folder / f"{name}{_USED}").unlink(missing_ok=True)
    for name, size in sizes.items():
        yield times[name], size, name
