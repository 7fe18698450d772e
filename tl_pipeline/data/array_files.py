"""Files of named arrays: `.npz` and `.h5`, read one row at a time.

A file comes from anywhere. Nothing is unpickled, nothing is followed out of it, and
nothing that it declares is believed before its bytes are known to be there.
"""

import math
import os
import threading
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from tl_pipeline.errors import shorten

NPY_SUFFIX = ".npy"
MAX_UNPACKED = 2**32  # bytes of a packed array, which is held in memory whole
MAX_LABEL_BYTES = 2**30  # of an array that is not the images
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name (APPNOTE, 4.3.7)


class UnreadableArrays(Exception):
    """A file that is no such file of arrays; its text says why."""


class ArrayFile(Protocol):
    """Named arrays whose shapes are known and whose values are not read yet."""

    @property
    def arrays(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype by name."""
        ...

    def read(self, name: str) -> np.ndarray:
        """Reads an array whole."""
        ...

    def rows(self, name: str) -> Callable[[int], np.ndarray]:
        """Returns what reads one row of an array, from any thread."""
        ...


class NpzFile:
    """A `.npz` file. Of an array stored as it is, as `np.savez` does, rows are read."""

    def __init__(self, path: Path):
        """Lists the arrays.

        Raises:
          UnreadableArrays: It is damaged, or has two arrays of a name.
          OSError: It cannot be read.
        """
        self._path = path
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._is_fortran: dict[str, bool] = {}
        self._offsets: dict[str, int] = {}
        arrays: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(NPY_SUFFIX)
                if name in self._members:
                    raise UnreadableArrays(f"it has two arrays called {name!r}")
                if member.filename.endswith(NPY_SUFFIX):
                    self._members[name] = member
                    arrays[name] = self._read_header(archive, name, member)
        self.arrays = arrays

    def read(self, name: str) -> np.ndarray:
        """Reads an array whole, and checks it against the archive's checksum."""
        shape, dtype = self.arrays[name]
        with zipfile.ZipFile(self._path) as archive:
            data = archive.read(self._members[name])
        order = "F" if self._is_fortran[name] else "C"
        values = np.frombuffer(data, dtype, offset=self._offsets[name])
        return values.reshape(shape, order=order)

    def rows(self, name: str) -> Callable[[int], np.ndarray]:
        """Returns what reads one row: from the file, or of the unpacked array."""
        member = self._members[name]
        if member.compress_type == zipfile.ZIP_STORED and not self._is_fortran[name]:
            return self._rows_in_place(name)
        if member.file_size > MAX_UNPACKED:
            raise UnreadableArrays(
                f"the array {name!r} is compressed, and unpacks to "
                f"{member.file_size:,} bytes, more than {MAX_UNPACKED:,}: save it with "
                "`np.savez`, or as .h5"
            )
        lock = threading.Lock()
        whole: list[np.ndarray] = []

        def read_unpacked(row: int) -> np.ndarray:
            with lock:
                if not whole:
                    whole.append(self.read(name))
            return whole[0][row]

        return read_unpacked

    def _rows_in_place(self, name: str) -> Callable[[int], np.ndarray]:
        (_, *shape), dtype = self.arrays[name]
        begin = self._find_data(name)
        n_bytes = math.prod(shape) * dtype.itemsize

        # Not a memory map: a file that is cut short meanwhile would kill the process.
        def read_in_place(row: int) -> np.ndarray:
            with self._path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), n_bytes, begin + row * n_bytes)
            if len(data) != n_bytes:
                raise OSError(f"{self._path} was cut short")
            return np.frombuffer(data, dtype).reshape(shape)

        return read_in_place

    def _find_data(self, name: str) -> int:
        member = self._members[name]
        with self._path.open("rb") as file:
            file.seek(member.header_offset)
            header = file.read(_LOCAL_HEADER)
        # The lengths of name and extra field may differ from the directory's.
        lengths = [int.from_bytes(header[i : i + 2], "little") for i in (26, 28)]
        begin = member.header_offset + _LOCAL_HEADER + sum(lengths)
        if begin + member.file_size > self._path.stat().st_size:
            raise UnreadableArrays(f"the array {name!r} is cut short")
        return begin + self._offsets[name]

    def _read_header(
        self, archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo
    ) -> tuple[tuple[int, ...], np.dtype]:
        with archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                header = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                header = np.lib.format.read_array_header_2_0(file)
            else:
                raise UnreadableArrays(f"{name!r} is .npy of version {version}")
            offset = file.tell()
        shape, self._is_fortran[name], dtype = header
        self._offsets[name] = offset
        if dtype.hasobject:
            raise UnreadableArrays(
                f"the array {name!r} holds pickled objects, which are never loaded: "
                "save text as `np.array(values, dtype=str)`"
            )
        declared = math.prod(map(int, shape)) * dtype.itemsize
        if min(shape, default=0) < 0 or declared != member.file_size - offset:
            raise UnreadableArrays(
                f"the array {name!r} declares {dtype} {list(shape)}, {declared:,} "
                f"bytes, and holds {member.file_size - offset:,}"
            )
        return shape, dtype


def open_arrays(path: Path) -> ArrayFile:
    """Opens a file of arrays by its suffix.

    Raises:
      UnreadableArrays: It is no such file, or is damaged.
      OSError: It cannot be read.
    """
    if not path.stat().st_size:
        raise UnreadableArrays("it is empty: 0 bytes")
    try:
        return _TYPES[path.suffix.lower()](path)
    except (UnreadableArrays, FileNotFoundError, PermissionError):
        raise
    # Damage comes out of zipfile, NumPy and HDF5 as nearly every built-in exception.
    except Exception as error:
        raise UnreadableArrays(shorten(error)) from error


def read_labels(file: ArrayFile, name: str) -> np.ndarray:
    """Reads an array that is not the images.

    Raises:
      UnreadableArrays: It is damaged, or too large for a label an example.
    """
    shape, dtype = file.arrays[name]
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > MAX_LABEL_BYTES:
        raise UnreadableArrays(
            f"the array {name!r} has {n_bytes:,} bytes, more than {MAX_LABEL_BYTES:,}"
        )
    try:
        return file.read(name)
    except Exception as error:  # as in `open_arrays`
        raise UnreadableArrays(f"{name!r}: {shorten(error)}") from error


def _open_hdf5(path: Path) -> ArrayFile:
    # Loading h5py takes a tenth of a second, which a folder of photographs never needs.
    from tl_pipeline.data.hdf5_arrays import Hdf5File

    return Hdf5File(path)


_TYPES: Mapping[str, Callable[[Path], ArrayFile]] = {
    ".npz": NpzFile,
    ".h5": _open_hdf5,
}
SUFFIXES = tuple(_TYPES)
