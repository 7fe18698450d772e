"""Mutants of `.safetensors`: just the tensors that the header names, or a reason."""

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
from mutations import ODD_NUMBERS, mutate_bytes, mutate_text
from safetensors.numpy import save
from verdicts import Wrong, check_message

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors

DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"},
    **{"I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2"},
    **{"U8": "u1", "BOOL": "?"},
}
ODD_VALUES = (
    *("F32", "F16", "BF16", "F8_E4M3", "BOOL", "I64", "X", "", None, -1, 0.5, 1e300),
    *([], [0], [-1], {}, [2**32, 2**32], [2**63], [[1]], ["1"], [1] * 100),
)


class Safetensors:
    def __init__(self, folder: Path):
        self.path = folder / "w.safetensors"
        rng = np.random.default_rng(0)
        arrays: dict[str, np.ndarray] = {
            "conv.kernel": rng.standard_normal((3, 3, 2, 4), np.float32),
            "conv.bias": rng.standard_normal(4, np.float32).astype(np.float16),
            "steps": np.arange(3),
            "mask": np.array([True, False]),
            "empty": np.zeros((0, 5), np.float32),
            "scalar": np.array(1.5),
        }
        some = {"conv.kernel": arrays["conv.kernel"]}
        self.files = [save(arrays, {"format": "np"}), save(some), save({})]

    def make(self, rng: random.Random) -> bytes:
        data = rng.choice(self.files[:2])
        if rng.random() < 0.35:
            return mutate_bytes(rng, data, self.files)
        (n,) = struct.unpack_from("<Q", data)
        header, values = data[8 : 8 + n], data[8 + n :]
        if rng.random() < 0.3:
            header = mutate_text(rng, header, [self.files[0][8:200]])
        else:
            header = change_header(rng, json.loads(header))
        n = len(header) if rng.random() < 0.9 else len(header) + rng.choice((-1, 1, 8))
        if rng.random() < 0.3:
            values = mutate_bytes(rng, values, self.files)
        return struct.pack("<Q", max(n, 0)) + header + values

    def check(self, data: bytes) -> str:
        self.path.write_bytes(data)
        try:
            tensors = load_tensors(self.path)
        except WeightsError as error:
            check_message(error, self.path)
            return "refused"
        try:
            said = read_plainly(data)
        except (ValueError, KeyError, TypeError) as error:
            raise Wrong(f"a plain reader refuses it: {error!r}") from None
        if said.keys() != tensors.arrays.keys():
            raise Wrong(f"{set(tensors.arrays)} where the file has {set(said)}")
        for name, (dtype, shape, values) in said.items():
            if dtype == "BF16":  # widened: its bits are the upper half of a float32's
                wide = np.frombuffer(values, "<u2").astype("<u4") << 16
                dtype, values = "F32", wide.tobytes()
            array = tensors.arrays[name]
            if array.shape != shape or array.tobytes() != values:
                raise Wrong(f"{name}: {array.dtype} {array.shape} is not the file's")
            if dtype not in DTYPES or array.dtype != np.dtype(DTYPES[dtype]):
                raise Wrong(f"{name}: {array.dtype} where the file says {dtype}")
        return "accepted"


def change_header(rng: random.Random, header: dict[str, Any]) -> bytes:
    """Returns the header with another dtype, shape, offset or name."""
    name = rng.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    change = rng.randrange(7)
    if change == 0:
        entry[rng.choice(list(entry))] = rng.choice(ODD_VALUES)
    elif change == 1 and entry["shape"]:
        entry["shape"][rng.randrange(len(entry["shape"]))] = rng.choice(ODD_NUMBERS)
    elif change == 2:
        rng.shuffle(entry["shape"])
    elif change == 3:
        end = rng.randrange(2)
        entry["data_offsets"][end] += rng.choice((-8, -4, -1, 1, 4, 8, 2**63))
    elif change == 4:
        entry["data_offsets"] = rng.choice(list(header.values())).get("data_offsets")
    elif change == 5:
        header["__metadata__"] = rng.choice((*ODD_VALUES, {"a": 1}, {"a": "b"}))
    else:
        header[rng.choice(("", "\0", "../x", "conv.bias", "x" * 10**5))] = dict(entry)
    text = json.dumps(header)
    if rng.random() < 0.1:  # a name twice
        text = text[:-1] + ", " + json.dumps({name: entry})[1:]
    return text.encode()


def read_plainly(data: bytes) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Reads dtype, shape and bytes of every tensor, by the format's description."""
    (n,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + n].decode(), object_pairs_hook=once)
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = data[8 + n + begin : 8 + n + end]
        tensors[name] = (entry["dtype"], tuple(entry["shape"]), values)
    return tensors


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands there twice")
    return dict(pairs)


def open_subject(folder: Path) -> Safetensors:
    return Safetensors(folder)
