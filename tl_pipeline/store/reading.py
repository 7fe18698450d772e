"""Reading committed files: verified on first use, then straight from their chunks.

A file's SHA-256 is checked against the manifest when a process first uses it, and
remembered with its size, mtime, ctime and inode; while these stay, later reads copy
chunks from known offsets, three times faster than through HDF5.

An object in a bucket is read from a local copy, in the same way; see `object_copies`.
"""

import contextlib
import errno
import functools
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import h5py
import numpy as np

from tl_pipeline.digest import Json, bytes_digest
from tl_pipeline.errors import StoreError
from tl_pipeline.object_copies import find_copy
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place
from tl_pipeline.store.copies import damaged, read_copy
from tl_pipeline.store.guards import check_contents, check_dataset, read_text
from tl_pipeline.store.manifest import ShardEntry
from tl_pipeline.store.schema import FEATURES, FeatureInfo


class DatasetLayout(NamedTuple):
    """Where a dataset's rows lie.

    Attributes:
      shape: [n, ...].
      dtype: By name.
      chunk_rows: Rows in a chunk; the last one may hold fewer.
      offsets: Each chunk's place in the file, in order; None if the rows do not lie
        there plainly, and HDF5 has to read them.
    """

    shape: tuple[int, ...]
    dtype: str
    chunk_rows: int
    offsets: tuple[int, ...] | None


Identity = tuple[int, int, int, int]  # size, mtime_ns, ctime_ns, inode


def read_verified(path: Place, *, sha256: str, size: int) -> bytes:
    """Reads a committed file's bytes and checks that they are the committed ones.

    Raises:
      FileNotFoundError: There is no such file.
      StoreDamagedError: Its bytes are not the committed ones.
    """
    if isinstance(path, ObjectPath):
        return read_copy(
            path, sha256, size, lambda at: read_verified(at, sha256=sha256, size=size)
        )
    with _opened(path) as descriptor:
        return _read_verified(path, descriptor, sha256, size)


def read_keys(path: Place, entry: ShardEntry) -> np.ndarray:
    """Reads a shard's content digests, checked on their own: no feature is read.

    Returns:
      [rows, 32] uint8.

    Raises:
      FileNotFoundError: There is no such file.
      StoreDamagedError: They are not the committed ones.
    """
    if isinstance(path, ObjectPath):
        if find_copy(entry.sha256, entry.bytes):
            return read_copy(
                path, entry.sha256, entry.bytes, lambda at: read_keys(at, entry)
            )
        size, start = 32 * entry.rows, entry.keys_offset
        data = read_copy(path, entry.keys_sha256, size, Path.read_bytes, start=start)
        return keys_within(path, data, entry, start=0)
    with _opened(path) as descriptor:
        found = os.fstat(descriptor).st_size
        if found != entry.bytes:  # before an array is made on the manifest's word
            raise damaged(path, f"it has {found:,} bytes instead of {entry.bytes:,}")
        keys = np.empty((entry.rows, 32), np.uint8)
        complete = _fill(keys, descriptor, entry.keys_offset)
    if not complete or bytes_digest(keys.data) != entry.keys_sha256:
        raise damaged(path, "its content digests are not the committed ones")
    return keys


def keys_within(
    path: Place, data: bytes, entry: ShardEntry, *, start: int
) -> np.ndarray:
    """Returns the content digests that begin at a place of a shard's bytes, checked.

    Raises:
      StoreDamagedError: They are not the committed ones.
    """
    found = data[start : start + 32 * entry.rows]
    if bytes_digest(found) != entry.keys_sha256:
        raise damaged(path, "its content digests are not the committed ones")
    return np.frombuffer(bytearray(found), np.uint8).reshape(-1, 32)


def read_rows(
    path: Place, entry: ShardEntry, feature: str, info: FeatureInfo
) -> np.ndarray:
    """Reads all rows of a feature in a shard, [rows, ...]; see `read_span`."""
    return read_span(path, entry, feature, info, 0, entry.rows)


def read_span(
    path: Place,
    entry: ShardEntry,
    feature: str,
    info: FeatureInfo,
    start: int,
    stop: int,
    *,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Reads consecutive rows of a feature in a shard.

    Args:
      path: The shard's file.
      entry: The shard.
      feature: The feature's name.
      info: What the feature's rows look like.
      start: The first row.
      stop: The row after the last one.
      out: [stop - start, ...] C-ordered, of the feature's dtype, to be filled; a new
        array by default.

    Returns:
      [stop - start, ...] of the feature's shape and dtype.

    Raises:
      FileNotFoundError: There is no such file.
      StoreDamagedError: Its bytes are not the committed ones, or not a shard's.
    """
    if isinstance(path, ObjectPath):

        def read(at: Path) -> np.ndarray:
            return read_span(at, entry, feature, info, start, stop, out=out)

        return read_copy(path, entry.sha256, entry.bytes, read)
    with _opened(path) as descriptor:
        identity = _identity(descriptor)
        if identity[0] != entry.bytes:
            raise damaged(
                path, f"it has {identity[0]:,} bytes instead of {entry.bytes:,}"
            )
        layout = _verified_layouts(path, entry.sha256, entry.features, identity)[
            feature
        ]
        shape = (entry.rows, *info.shape)
        if (layout.shape, layout.dtype) != (shape, info.dtype):
            raise damaged(
                path,
                f"{feature} is {layout.dtype} {list(layout.shape)}, the manifest has "
                f"{info.dtype} {list(shape)}",
            )
        if layout.offsets is None:
            data = _read_verified(path, descriptor, entry.sha256, entry.bytes)
            with parsed(path, data) as file:
                name = f"{FEATURES}/{feature}"
                dataset = check_dataset(
                    file, name, shape=shape, dtype=info.dtype, what=str(path)
                )
                if out is None:
                    return dataset[start:stop]
                out[...] = dataset[start:stop]
                return out
        rows = np.empty((stop - start, *info.shape), info.dtype) if out is None else out
        at = start
        while at < stop:
            place, skipped = divmod(at, layout.chunk_rows)
            end = min(stop, at - skipped + layout.chunk_rows)
            offset = layout.offsets[place] + skipped * info.row_bytes
            # Four bytes of checksum follow each chunk; the whole file was checked.
            if not _fill(rows[at - start : end - start], descriptor, offset):
                raise damaged(path, "it ends within a chunk")
            at = end
        return rows


def read_versions(path: Place, entry: ShardEntry) -> dict[str, Json]:
    """Reads the library versions and platform that a shard carries.

    Raises:
      FileNotFoundError: There is no such file.
      StoreDamagedError: Its bytes are not the committed ones, or not a shard's.
    """
    data = read_verified(path, sha256=entry.sha256, size=entry.bytes)
    with parsed(path, data) as file:
        return dict(json.loads(read_text(file, "versions", what=str(path))))


def read_layouts(
    path: Place, data: bytes, features: tuple[str, ...]
) -> Mapping[str, DatasetLayout]:
    """Returns the layout of each feature in a shard's bytes.

    Raises:
      StoreDamagedError: The file is not what a shard is.
    """
    with parsed(path, data) as file:
        check_contents(file, size=len(data), what=str(path))
        group = file.get(FEATURES)
        if not isinstance(group, h5py.Group) or set(group) != set(features):
            raise damaged(path, "it does not hold the features that it should")
        found: dict[str, DatasetLayout] = {}
        for name in features:
            dataset = group[name]
            if not isinstance(dataset, h5py.Dataset):
                raise damaged(path, f"{FEATURES}/{name} is not a dataset")
            found[name] = _read_layout(dataset)
        return MappingProxyType(found)


def read_table(
    path: Place,
    data: bytes,
    columns: Mapping[str, tuple[tuple[int, ...], str | None]],
) -> dict[str, np.ndarray]:
    """Reads datasets at the root of a file's bytes.

    Args:
      path: Where the bytes are from, for messages.
      data: The bytes.
      columns: Shape and dtype by name; the dtype None takes text of any length.

    Raises:
      StoreDamagedError: A dataset is absent or different.
    """
    with parsed(path, data) as file:
        check_contents(file, size=len(data), what=str(path))
        table = {}
        for name, (shape, dtype) in columns.items():
            found = file.get(name)
            wanted = dtype or (found.dtype if isinstance(found, h5py.Dataset) else "S")
            table[name] = check_dataset(
                file, name, shape=shape, dtype=wanted, what=str(path)
            )[...]
        return table


@functools.lru_cache(maxsize=2**16)
def _verified_layouts(
    path: Path, sha256: str, features: tuple[str, ...], identity: Identity
) -> Mapping[str, DatasetLayout]:
    """Verifies a shard once a process, for as long as the file's identity stays."""
    with _opened(path) as descriptor:
        data = _read_verified(path, descriptor, sha256, identity[0])
        if _identity(descriptor) != identity:
            # Its ctime is also that of its removal, by a merge or a collection.
            if not os.fstat(descriptor).st_nlink:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            raise damaged(path, "it changed while it was read")
    return read_layouts(path, data, features)


def _read_layout(dataset: h5py.Dataset) -> DatasetLayout:
    shape, chunks = dataset.shape, dataset.chunks
    if chunks is None:
        offset = dataset.id.get_offset()
        offsets = None if offset is None else (offset,)
        return DatasetLayout(shape, dataset.dtype.name, shape[0], offsets)
    found: dict[int, int] = {}

    def visit(chunk: h5py.h5d.StoreInfo) -> None:
        # A set bit of the mask is a filter that was skipped for this chunk.
        if chunk.filter_mask == 0 and not any(chunk.chunk_offset[1:]):
            found[chunk.chunk_offset[0]] = chunk.byte_offset

    whole_rows = chunks[1:] == shape[1:]
    starts = range(0, shape[0], chunks[0])
    if whole_rows:
        dataset.id.chunk_iter(visit)
    plain = found.keys() == set(starts)
    offsets = tuple(found[start] for start in starts) if plain else None
    return DatasetLayout(shape, dataset.dtype.name, chunks[0], offsets)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}).") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def parsed(path: Place, data: bytes) -> Iterator[h5py.File]:
    """Opens the very bytes that were verified, not whatever the path has by now."""
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            yield file
    except StoreError:
        raise
    # What h5py raises for a file that is not HDF5, or not all of it.
    except (
        ArithmeticError,
        KeyError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise damaged(path, f"HDF5 cannot read it: {error}") from error


def _read_verified(path: Path, descriptor: int, sha256: str, size: int) -> bytes:
    found = os.fstat(descriptor).st_size
    if found != size:
        raise damaged(path, f"it has {found:,} bytes instead of {size:,}")
    # As bytes, which HDF5 then reads in place: of a bytearray it would take a copy.
    try:
        with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
            file.seek(0)
            data = file.read()
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error}).") from error
    if len(data) != size or bytes_digest(data) != sha256:
        raise damaged(path, "its SHA-256 is not the committed one")
    return data


def _fill(rows: np.ndarray, descriptor: int, offset: int) -> bool:
    """Fills an array from a place in a file; False if the file ends before."""
    view = rows.reshape(-1).view(np.uint8).data
    try:
        while len(view):
            n = os.preadv(descriptor, [view], offset)
            if not n:
                return False
            view, offset = view[n:], offset + n
    except OSError as error:
        raise StoreError(f"A feature store cannot be read ({error}).") from error
    return True


def _identity(descriptor: int) -> Identity:
    stat = os.fstat(descriptor)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
