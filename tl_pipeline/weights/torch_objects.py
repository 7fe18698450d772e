"""What PyTorch's pickles say: tensors as views of storages, by a short list of names.

A tensor is a storage's key, where it begins there, its shape and its strides; all of
that is checked against the storage before a byte of it is read. Names that carry no
weights but stand in many checkpoints (the options of a training, NumPy's numbers) are
known and passed over; every other name is refused.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.pickles import Inert, Name, RefusedError, check_key

MAX_RANK = 32
MAX_NAME = 500  # characters
MAX_LENGTH = 2**40  # of a tensor without values, whose sides nothing else bounds

_STORAGES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_DTYPES = {
    **{"float32": "<f4", "float64": "<f8", "float16": "<f2", "int64": "<i8"},
    **{"int32": "<i4", "int16": "<i2", "int8": "i1", "uint8": "u1", "bool": "?"},
    **{"uint16": "<u2", "uint32": "<u4", "uint64": "<u8"},
}
_UNTYPED = "torch.storage.UntypedStorage"
_INERT = {
    "argparse.Namespace",
    "builtins.set",
    "__builtin__.set",
    "collections.Counter",
    "collections.defaultdict",
    "_codecs.encode",
    "numpy.dtype",
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    "torch.device",
}


class Storage(NamedTuple):
    """A run of numbers in the file: its key there, its dtype, and how many."""

    key: str
    dtype: np.dtype
    n_items: int


class TensorRef(NamedTuple):
    """A tensor as a view: where it begins in its storage, in items; its strides too."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """How many items lie between its first and its last, both included."""
        if 0 in self.shape:
            return 0
        steps = zip(self.shape, self.strides, strict=True)
        return 1 + sum((n - 1) * stride for n, stride in steps)


def read_storage(reference: Any) -> Storage:
    """Takes a pickle's reference to a storage apart.

    Raises:
      RefusedError: It is none, or of a type that is not read.
    """
    if type(reference) is not tuple or not 5 <= len(reference) <= 6:
        raise RefusedError("its pickle refers to something that is no storage")
    what, kind, key, _, n_items, *view = reference
    if what != "storage" or not isinstance(kind, Name) or type(key) is not str:
        raise RefusedError("its pickle refers to something that is no storage")
    if any(part is not None for part in view):
        raise RefusedError(f"its storage {key} is a part of another one")
    module, _, name = kind.dotted.rpartition(".")
    if kind.dotted == _UNTYPED:
        dtype = np.dtype("u1")
    elif module in ("torch", "torch.cuda") and name in _STORAGES:
        dtype = _STORAGES[name]
    else:
        raise RefusedError(f"its storages are {kind.dotted}, which is not read")
    return Storage(key, dtype, _check_size(n_items))


def check_storage(storage: Storage, n_bytes: int) -> None:
    """Raises `RefusedError` unless a storage has as many bytes as its pickle says."""
    if storage.n_items * storage.dtype.itemsize != n_bytes:
        raise RefusedError(
            f"its storage {storage.key} has {n_bytes:,} bytes where its pickle says "
            f"{storage.n_items:,} items of {storage.dtype}"
        )


def call_name(name: str, args: tuple[Any, ...]) -> Any:
    """Returns what a name of PyTorch's pickles stands for; calls nothing.

    Raises:
      RefusedError: The name is not on the list, or its arguments do not fit.
    """
    if name == "collections.OrderedDict" and len(args) <= 1:
        pairs = args[0] if args else []
        if not isinstance(pairs, list) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise RefusedError(f"it calls {name} with what are no pairs")
        entries = {check_key(key): value for key, value in pairs}
        pairs.clear()  # or a program could have it copied any number of times
        return entries
    if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
        if len(args) >= 4 and isinstance(args[0], Storage):
            return _make_tensor(args[0], args[0].dtype, *args[1:4])
    elif name == "torch._utils._rebuild_tensor_v3":
        if len(args) >= 7 and isinstance(args[0], Storage):
            return _make_tensor(args[0], _read_dtype(args[6]), *args[1:4])
    elif name in (
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
    ):
        if args and isinstance(args[0], TensorRef):
            return args[0]
    elif name == "torch.Size":
        if len(args) == 1 and type(args[0]) is tuple:
            return args[0]
    elif name in _INERT:
        return Inert()
    else:
        raise RefusedError(f"it would call {name}, which no weights need")
    raise RefusedError(f"it calls {name} with what does not fit")


def _read_dtype(name: Any) -> np.dtype:
    dotted = name.dotted if isinstance(name, Name) else "?"
    if dotted == "torch.bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    if dotted.removeprefix("torch.") not in _DTYPES:
        raise RefusedError(f"a tensor is of {dotted}, which is not read")
    return np.dtype(_DTYPES[dotted.removeprefix("torch.")])


def _make_tensor(
    storage: Storage, dtype: np.dtype, offset: Any, shape: Any, strides: Any
) -> TensorRef:
    """Returns a tensor, if all of it is within its storage."""
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise RefusedError(f"a tensor of storage {storage.key} has no shape")
    if len(shape) != len(strides) or len(shape) > MAX_RANK:
        raise RefusedError(f"a tensor of storage {storage.key} has no shape")
    sizes = [_check_size(size) for size in (offset, *shape, *strides)]
    held = storage.n_items * storage.dtype.itemsize // dtype.itemsize
    ref = TensorRef(
        storage,
        dtype,
        sizes[0],
        tuple(sizes[1 : 1 + len(shape)]),
        tuple(sizes[1 + len(shape) :]),
    )
    if 0 in ref.shape:
        fits = math.prod(filter(None, ref.shape)) <= MAX_LENGTH
    else:
        # The count too: strides of 0 repeat a value as often as they like.
        fits = ref.offset + ref.span <= held and math.prod(ref.shape) <= held
    if not fits:
        raise RefusedError(
            f"a tensor reaches beyond its storage {storage.key} of {held:,} items"
        )
    return ref


def _check_size(size: Any) -> int:
    if type(size) is not int or not 0 <= size < 2**62:
        raise RefusedError("its pickle has a size that is none")
    return size


class StoredTensors(Mapping[str, np.ndarray]):
    """Tensors by name, each read from the file when it is asked for, and not kept.

    So no more than one of them is in memory beside what the caller makes of them.
    """

    def __init__(
        self, path: Path, refs: Mapping[str, TensorRef], places: Mapping[str, int]
    ):
        """Takes the tensors, and where in the file each storage begins, in bytes."""
        self._path, self._refs, self._places = path, dict(refs), dict(places)
        self._stamp = _stamp(path)

    def __getitem__(self, name: str) -> np.ndarray:
        ref = self._refs[name]
        start = self._places[ref.storage.key] + ref.offset * ref.dtype.itemsize
        with self._path.open("rb") as file:
            file.seek(start)
            # As bytes: `fromfile` does not know bfloat16.
            data = np.fromfile(file, np.uint8, ref.span * ref.dtype.itemsize)
        if data.size != ref.span * ref.dtype.itemsize or _stamp(self._path) != (
            self._stamp
        ):
            raise WeightsError(
                f"Weights {self._path} changed while they were read: load them again."
            )
        if ref.dtype == np.bool_:  # any byte but 0 is true
            values = data != 0
        else:
            values = data.view(ref.dtype)
        steps = [stride * ref.dtype.itemsize for stride in ref.strides]
        if 0 in ref.shape:
            values = np.zeros(ref.shape, ref.dtype)
        else:
            values = np.lib.stride_tricks.as_strided(values, ref.shape, steps)
        if ref.dtype == ml_dtypes.bfloat16:
            return values.astype(np.float32, order="C")
        return np.ascontiguousarray(values).reshape(ref.shape)

    # Without it a name would be looked for by reading its tensor.
    def __contains__(self, name: object) -> bool:
        return name in self._refs

    def __iter__(self) -> Iterator[str]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def flatten(found: Any) -> dict[str, TensorRef]:
    """Returns the tensors of nested dicts by dotted name; anything else is left out.

    `{"state_dict": {"conv.weight": ...}, "epoch": 3}` gives `state_dict.conv.weight`.
    Lists, and dicts with other keys than texts, hold an optimizer's state.

    Raises:
      RefusedError: It is no dict, two tensors have one name, or it holds no tensor.
    """
    if not isinstance(found, dict):
        raise RefusedError("it is no dict of tensors")
    refs: dict[str, TensorRef] = {}
    waiting: list[tuple[str, dict[Any, Any]]] = [("", found)]
    seen = {id(found)}  # each once: a dict may hold itself, or one other many times
    while waiting:
        prefix, entries = waiting.pop()
        for key, value in entries.items():
            # Names are put together: long ones would come to any size.
            if not isinstance(key, str) or len(prefix) + len(key) > MAX_NAME:
                continue
            name = prefix + key
            if isinstance(value, TensorRef):
                if name in refs:
                    raise RefusedError(f"two of its tensors are called {name}")
                refs[name] = value
            elif isinstance(value, dict) and id(value) not in seen:
                seen.add(id(value))
                waiting.append((f"{name}.", value))
    if not refs:
        raise RefusedError("it holds no tensors by name")
    return refs
