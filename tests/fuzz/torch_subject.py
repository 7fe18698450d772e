"""Mutants of PyTorch's files: the tensors that a plain reader finds there, or a reason.

The plain reader is Python's own: `zipfile`, and `pickle` written in Python, which may
call a few stand-ins of this file and nothing else.
"""

import io
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from mutations import lie, mutate_bytes, overwrite
from verdicts import Wrong, check_message

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors

GOLDEN = Path(__file__).parents[1] / "golden" / "torch"
DTYPES = {
    **{"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4"},
    **{"Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"},
    **{"BFloat16": ml_dtypes.bfloat16},
}


class Torch:
    def __init__(self, folder: Path):
        self.path = folder / "w.pth"
        names = ("state.pth", "kinds.pth", "lightning.ckpt")
        legacy = ("state-legacy.pth", "kinds-legacy.pth")
        self.files = [(GOLDEN / name).read_bytes() for name in (*names, *legacy)]

    def make(self, rng: random.Random) -> bytes:
        data = rng.choice(self.files)
        if rng.random() < 0.3:  # often within a number, which is then another one
            damaged = bytearray(data)
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            return bytes(damaged)
        if rng.random() < 0.4 or not data.startswith(b"PK"):
            return mutate_bytes(rng, data, self.files)
        if rng.random() < 0.6:
            return mutate_program(rng, data)
        return mutate_directory(rng, data)

    def check(self, data: bytes) -> str:
        self.path.write_bytes(data)
        try:
            tensors = load_tensors(self.path)
            arrays = dict(tensors.arrays)
        except WeightsError as error:
            check_message(error, self.path)
            return "refused"
        plain = read_zip if data.startswith(b"PK") else read_legacy
        try:
            said = dict(walk("", plain(data)))
        except Exception as error:
            raise Wrong(f"a plain reader refuses it: {error!r}") from None
        if said.keys() != arrays.keys():
            raise Wrong(f"{set(arrays)} where the file has {set(said)}")
        for name, expected in said.items():
            array = arrays[name]
            if array.dtype != expected.dtype or array.shape != expected.shape:
                raise Wrong(f"{name}: {array.dtype} {array.shape} is not the file's")
            if expected.dtype == np.bool_:  # any byte but 0 is true
                expected = np.ascontiguousarray(expected).view("u1") != 0
            if array.tobytes() != expected.tobytes():
                raise Wrong(f"{name}: other values than the file's")
        return "accepted"


def mutate_program(rng: random.Random, data: bytes) -> bytes:
    """Returns a file whose data.pkl alone is damaged; the zip around it is whole."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith("data.pkl"):
                content = mutate_bytes(rng, content, [content])
            new.writestr(zipfile.ZipInfo(info.filename), content)
    return file.getvalue()


def mutate_directory(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        sign = rng.choice((b"PK\1\2", b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6"))
        starts = [i for i in range(len(data)) if data.startswith(sign, i)]
        if starts:
            at = rng.choice(starts)
            part = rng.choice((lie, overwrite))(rng, bytearray(damaged[at : at + 64]))
            damaged[at : at + 64] = part[:64]
    return bytes(damaged)


class StandIn:
    """What is passed over: it may be called, filled and changed."""

    def __init__(self, *_: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def extend(self, items: object) -> None:
        pass

    append = add = update = extend


class Dict(OrderedDict):
    def __setstate__(self, state: object) -> None:
        pass


class Array(np.ndarray):
    def __setstate__(self, state: object) -> None:
        pass


class Kind(str):
    """The name of a storage's type or of a dtype."""


def view(storage: np.ndarray, offset: int, shape: Any, strides: Any, *rest: Any) -> Any:
    if len(rest) >= 3 and isinstance(rest[2], Kind):  # the third version's dtype
        storage = storage.view(rest[2].rpartition(".")[2])
    if 0 in shape:
        return np.zeros(shape, storage.dtype).view(Array)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if not 0 <= offset <= last < len(storage):
        raise ValueError("beyond its storage")
    steps = [step * storage.itemsize for step in strides]
    array = np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)
    if array.dtype == ml_dtypes.bfloat16:
        array = array.astype(np.float32)
    return array.view(Array)


class Plain(pickle._Unpickler):  # pyright: ignore[reportPrivateUsage]
    def __init__(self, file: io.BytesIO, storages: Any):
        super().__init__(file, encoding="latin-1")
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if name.startswith("_rebuild_tensor"):
            return view
        if name.startswith("_rebuild_parameter"):
            return lambda array, *_: array
        if name == "OrderedDict":
            return Dict
        if name == "Size":
            return tuple
        if module.startswith("torch"):
            return Kind(f"{module}.{name}")
        return StandIn

    def persistent_load(self, pid: Any) -> Any:
        _, kind, key, _, n_items = pid[:5]
        name = kind.rpartition(".")[2].removesuffix("Storage")
        dtype = np.dtype("u1" if name == "Untyped" else DTYPES[name])
        return self.storages(key, dtype, n_items)


def read_zip(data: bytes) -> Any:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        infos = {info.filename: info for info in file.infolist()}

    def content(name: str) -> bytes:
        info = infos[name]
        n_name, n_extra = struct.unpack_from("<HH", data, info.header_offset + 26)
        at = info.header_offset + 30 + n_name + n_extra
        if at + info.file_size > len(data):
            raise ValueError("beyond the file")
        return data[at : at + info.file_size]

    (program,) = [name for name in infos if name.endswith("/data.pkl")] or ["data.pkl"]
    root = program.removesuffix("data.pkl")

    def storages(key: str, dtype: np.dtype, n_items: int) -> np.ndarray:
        name = f"{root}data/{key}"
        if name not in infos or infos[name].file_size != n_items * dtype.itemsize:
            # An optimizer's, which is not read: of a weight it would be refused.
            return np.broadcast_to(np.full(1, 42, dtype), n_items)
        return np.frombuffer(content(name), dtype)

    return Plain(io.BytesIO(content(program)), storages).load()


def read_legacy(data: bytes) -> Any:
    """Reads twice: where the storages are is known only behind the object."""
    kinds: dict[str, tuple[np.dtype, int]] = {}

    def note(key: str, dtype: np.dtype, n_items: int) -> np.ndarray:
        kinds[key] = (dtype, n_items)
        return np.zeros(n_items, dtype)

    stream = io.BytesIO(data)
    for _ in range(4):
        Plain(stream, note).load()
    keys = Plain(stream, note).load()
    found: dict[str, np.ndarray] = {}
    at = stream.tell()
    for key in keys:
        dtype, n_items = kinds[key]
        if struct.unpack_from("<q", data, at)[0] != n_items:
            raise ValueError("of another size")
        found[key] = np.frombuffer(data, dtype, n_items, at + 8)
        at += 8 + found[key].nbytes
    stream.seek(0)
    for _ in range(3):
        Plain(stream, note).load()
    return Plain(stream, lambda key, *_: found[key]).load()


def walk(prefix: str, found: Any) -> Any:
    for key, value in found.items():
        if isinstance(key, str) and isinstance(value, np.ndarray):
            yield prefix + key, value
        elif isinstance(key, str) and isinstance(value, dict):
            yield from walk(f"{prefix}{key}.", value)


def open_subject(folder: Path) -> Torch:
    return Torch(folder)
