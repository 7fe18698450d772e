"""Reading PyTorch's files of before version 1.6: pickles, and then raw storages.

In order: a magic number, the protocol's version, facts of the machine, the object, the
keys of its storages; each of these a pickle. Then for each key the number of its items
in 8 bytes, and the items.
"""

import io
from pathlib import Path
from typing import Any

from tl_pipeline.weights.pickles import MAX_BYTES, Machine, RefusedError
from tl_pipeline.weights.torch_objects import (
    Storage,
    StoredTensors,
    call_name,
    check_storage,
    flatten,
    read_storage,
)

MAGIC = 0x1950A86A20F9469CFC6C
# The same as a pickle begins with it: protocol 2, a number of 10 bytes.
START = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")
_PROTOCOL = 1001


def read_torch_legacy(path: Path) -> StoredTensors:
    """Returns the tensors of a file in the old format, by dotted name.

    Raises:
      RefusedError: It is damaged, of another protocol or byte order, or holds more
        than tensors.
    """
    storages: dict[str, Storage] = {}

    def persist(reference: Any) -> Storage:
        storage = read_storage(reference)
        if storages.setdefault(storage.key, storage) != storage:
            raise RefusedError(f"its storage {storage.key} is of two kinds")
        return storage

    with path.open("rb") as file:
        stream = io.BytesIO(file.read(MAX_BYTES))
        machine = Machine(stream, call=call_name, persist=persist)
        magic, protocol, facts, found, keys = (machine.run() for _ in range(5))
        if magic != MAGIC or protocol != _PROTOCOL or not isinstance(facts, dict):
            raise RefusedError("it does not begin as PyTorch's files do")
        if facts.get("little_endian") is not True:
            raise RefusedError("its numbers are not in little-endian order")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise RefusedError("its list of storages is damaged")
        if len(set(keys)) != len(keys) or set(keys) != storages.keys():
            raise RefusedError("its list of storages is not that of its tensors")
        end = file.seek(0, 2)
        places: dict[str, int] = {}
        at = stream.tell()
        for key in keys:
            file.seek(at)
            n_items = int.from_bytes(file.read(8), "little")
            n_bytes = n_items * storages[key].dtype.itemsize
            if at + 8 + n_bytes > end:
                raise RefusedError(f"its storage {key} reaches beyond the file")
            check_storage(storages[key], n_bytes)
            places[key] = at + 8
            at += 8 + n_bytes
    return StoredTensors(path, flatten(found), places)
