"""Reading PyTorch's files without PyTorch: the zip format of version 1.6 and later.

A folder in a zip file: `data.pkl` says which tensors there are, as a program that is
read and never run as Python would (`pickles`), and `data/KEY` are their numbers. All
is stored plainly; what is packed was not written by `torch.save`.
"""

import io
from pathlib import Path

from tl_pipeline.weights.pickles import MAX_BYTES, Machine, RefusedError
from tl_pipeline.weights.torch_objects import (
    Storage,
    StoredTensors,
    call_name,
    check_storage,
    flatten,
    read_storage,
)
from tl_pipeline.weights.zip_members import list_members


def read_torch_zip(path: Path) -> StoredTensors:
    """Returns the tensors of a file that `torch.save` wrote, by dotted name.

    Raises:
      RefusedError: It holds something else, or more than tensors.
      ZipError: It is damaged.
    """
    members = list_members(path)
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise RefusedError(f"it holds {len(pickles)} files data.pkl, and not one")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise RefusedError("it is a TorchScript program, and not a file of torch.save")
    for member in members.values():
        if member.is_packed:
            raise RefusedError(f"its {member.name} is packed, as torch.save never does")
    program = members[pickles[0]]
    if program.size > MAX_BYTES:
        raise RefusedError(f"its data.pkl has {program.size:,} bytes")

    # Not by `read_member`: checksums may be switched off where such files are written.
    def read(name: str) -> bytes:
        with path.open("rb") as file:
            file.seek(members[name].offset)
            return file.read(members[name].size)

    order = f"{root}byteorder"
    if order in members and (members[order].size > 6 or read(order) != b"little"):
        raise RefusedError("its numbers are not in little-endian order")
    stream = io.BytesIO(read(pickles[0]))
    found = Machine(stream, call=call_name, persist=read_storage).run()
    refs = flatten(found)
    places: dict[str, int] = {}
    for ref in refs.values():
        storage: Storage = ref.storage
        member = members.get(f"{root}data/{storage.key}")
        if member is None:
            raise RefusedError(f"its storage {storage.key} is missing")
        check_storage(storage, member.size)
        places[storage.key] = member.offset
    return StoredTensors(path, refs, places)
