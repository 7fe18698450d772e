"""Reading a dataset's objects, each of them once.

An example is read for its digest, and again when it is decoded, in another order. What
was read first is kept meanwhile in a file without a name on the local disk, as far as
there is room, so that nothing is left of it when the process ends, however it ends.
"""

import os
import shutil
import tempfile
import threading
import weakref
from typing import Any

from tl_pipeline.data.dataset import Item
from tl_pipeline.files import cache_folder
from tl_pipeline.object_copies import copy_limit
from tl_pipeline.object_paths import parse_address

# Threads that read for digests: they wait for the server most of the time.
READERS = 16


class ObjectReader:
    """Reads items whose file is the address of an object."""

    def __init__(self) -> None:
        """Keeps nothing yet."""
        self._kept = _Kept()

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectReader, ()  # another machine has another disk

    def __call__(self, item: Item) -> bytes:
        """Returns the bytes of an item.

        Raises:
          OSError: The object is gone or cannot be read.
        """
        data = self._kept.find(item.file)
        if data is None:
            data = parse_address(item.file).read_bytes()
            self._kept.add(item.file, data)
        return data


class _Kept:
    """Bytes by name, one after the other in a file that has none. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}
        self._file = -1
        self._end = 0
        self._room: int | None = None

    def find(self, name: str) -> bytes | None:
        place = self._places.get(name)
        if place is None:
            return None
        start, size = place
        try:
            data = os.pread(self._file, size, start)
        except OSError:
            return None
        return data if len(data) == size else None

    def add(self, name: str, data: bytes) -> None:
        with self._lock:
            if self._room is None:
                self._open()
            if self._end + len(data) > (self._room or 0):
                return
            start, self._end = self._end, self._end + len(data)
        try:
            if os.pwrite(self._file, data, start) == len(data):
                self._places[name] = start, len(data)
        except OSError:  # a full disk: read again what is not kept
            self._room = 0

    def _open(self) -> None:
        self._room = 0
        try:
            folder = cache_folder("objects")
            folder.mkdir(parents=True, exist_ok=True)
            self._file, name = tempfile.mkstemp(dir=folder)
            weakref.finalize(self, os.close, self._file)
            os.unlink(name)
            self._room = min(copy_limit(), shutil.disk_usage(folder).free // 2)
        except OSError:
            pass
