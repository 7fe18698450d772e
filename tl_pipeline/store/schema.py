"""The format of a store's files: names, dtypes, layout and limits.

Every HDF5 file is written whole, in memory, with the same bytes for the same content:
no time stamps, no compression, whole rows a chunk, a Fletcher-32 sum a chunk. Text is
UTF-8 of fixed length, in datasets and in attributes: variable length has no checksum,
and HDF5 never returns from reading one whose heap is damaged.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import h5py
import numpy as np

from tl_pipeline.arrays import STORE_DTYPES
from tl_pipeline.digest import Json, short_digest
from tl_pipeline.errors import BackboneError
from tl_pipeline.spec import check_same_spec

MANIFEST = "store.json"
FAILURES = "failures.jsonl"
HISTORY = "extractions.jsonl"
LOCK = ".lock"
HOLDER = ".lock-holder.json"
SHARDS = "shards"
SNAPSHOTS = "snapshots"

FEATURES = "features"  # the group of a shard's feature datasets
CONTENT = "content_digest"
VIEW = "view"

DIGEST = re.compile(r"[0-9a-f]{64}")
SHARD_NAME = re.compile(r"([0-9]{6,})-[0-9a-f]{12}\.h5")
SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9_+=@-][A-Za-z0-9_.+=@-]*-[0-9a-f]{12}\.h5")
FEATURE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[a-z]+)?")

CHUNK_BYTES = 2**20
SHARD_BYTES = 64 * 2**20  # of the features asked for when the store was made
SHARD_BYTES_LIMIT = 256 * 2**20  # of whatever features come later
MAX_SHARD_ROWS = 4096


class FeatureInfo(NamedTuple):
    """What every row of a feature looks like, and the classifier behind its logits.

    Attributes:
      shape: A row's shape, without the leading N.
      dtype: `"float16"` or `"float32"`.
      classifier: Digest of the classifier's tensors for `logits`, else None.
    """

    shape: tuple[int, ...]
    dtype: str
    classifier: str | None = None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def check_features(features: Mapping[str, FeatureInfo]) -> None:
    """Raises `BackboneError` unless HDF5 can hold features so named and shaped."""
    for name, info in features.items():
        if not FEATURE_NAME.fullmatch(name):
            raise BackboneError(
                f"Feature name {name!r} cannot name a dataset: use letters, digits, "
                "`_`, `.`, `-`, and `:POOLING` at the end."
            )
        if info.dtype not in STORE_DTYPES or not info.row_bytes > 0:
            raise BackboneError(
                f"Feature {name!r} has rows of shape {list(info.shape)} and dtype "
                f"{info.dtype}; a store takes non-empty rows of "
                f"{' or '.join(STORE_DTYPES)}."
            )


def choose_shard_rows(features: Mapping[str, FeatureInfo]) -> int:
    """Returns how many rows a new store puts in a shard: 64 MiB, at most 4,096 rows.

    Example:
      >>> choose_shard_rows({"pool": FeatureInfo((1280,), "float16")})
      4096
      >>> choose_shard_rows({"stage1": FeatureInfo((112, 112, 16), "float16")})
      167
    """
    rows = SHARD_BYTES // sum(info.row_bytes for info in features.values())
    return min(max(rows, 1), MAX_SHARD_ROWS)


def range_rows(shard_rows: int, features: Sequence[FeatureInfo]) -> int:
    """Returns how many rows of some features go in one range of a plan.

    It is the store's `shard_rows`, also for features that came later, unless their
    shard would be above 256 MiB: then as many rows as fit in that, at least one.
    """
    row_bytes = sum(info.row_bytes for info in features)
    return min(shard_rows, max(1, SHARD_BYTES_LIMIT // row_bytes))


def file_stem(name: str) -> str:
    """Turns a name into one that any file system takes; a digest follows it.

    Example:
      >>> file_stem("flowers/2024 été")
      'flowers_2024_t_'
    """
    stem = re.sub(r"[^A-Za-z0-9_.+=@-]+", "_", name).lstrip(".")[:80]
    return stem or "_"


def folder_name(name: str, digest: str) -> str:
    """Returns the folder of a store with a name and a feature spec's digest."""
    return f"{file_stem(name)}-{short_digest(digest)}"


def add_dataset(
    group: h5py.Group, name: str, rows: np.ndarray, description: str
) -> h5py.Dataset:
    """Writes rows in chunks of whole rows, each with its checksum.

    Args:
      group: Where to.
      name: The dataset's name in the group.
      rows: [N, ...]; no rows make a dataset without chunks, as HDF5 has it.
      description: What the rows are and their units, for people who open the file.
    """
    layout = {}
    if len(rows):
        row_bytes = max(rows[0].nbytes, 1)
        chunk = min(max(CHUNK_BYTES // row_bytes, 1), len(rows))
        layout = {"chunks": (chunk, *rows.shape[1:]), "fletcher32": True}
    dataset = group.create_dataset(name, data=rows, track_times=False, **layout)
    add_text(dataset, "description", description)
    # Rows are placed now and not when the dataset is closed: where another thread has
    # h5py's lock that is later, and the file would have other bytes.
    dataset.flush()
    return dataset


def add_text(item: h5py.File | h5py.Group | h5py.Dataset, name: str, text: str) -> None:
    """Writes a text attribute of fixed length, which `h5dump` shows as it is."""
    data = text.encode()
    kind = h5py.string_dtype("utf-8", max(len(data), 1))
    item.attrs.create(name, np.array(data, kind), dtype=kind)


def cast_rows(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Casts rows to a store dtype; what overflows becomes an infinity, quietly."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(rows, np.dtype(dtype))


def row_magnitudes(rows: np.ndarray) -> np.ndarray:
    """Returns the largest magnitude in each row; inf or NaN where one is not finite.

    Args:
      rows: [N, ...] float16 or float32, C order.

    Returns:
      [N] of the same dtype.
    """
    # Without its sign bit a float orders like the integer with the same bits, NaN
    # above infinity: 8 times faster than float16 arithmetic.
    bits = {2: np.uint16, 4: np.uint32}[rows.dtype.itemsize]
    if not len(rows):
        return np.zeros(0, rows.dtype)
    flat = rows.reshape(len(rows), -1).view(bits)
    magnitude = flat & np.array(np.iinfo(bits).max >> 1, bits)
    return magnitude.max(axis=1).view(rows.dtype)


def find_unstorable(
    arrays: Mapping[str, np.ndarray], dtype: str
) -> list[tuple[int, str, str]]:
    """Lists the rows that a store cannot hold, as (row, feature, reason), sorted.

    A value that is not finite, or becomes so as `dtype` (float16 ends at 65,504).

    Args:
      arrays: [N, ...] floating rows by feature name.
      dtype: The store's dtype.

    Example:
      >>> find_unstorable({"pool": np.array([[1.0], [7e4]])}, "float16")
      [(1, 'pool', 'overflows float16')]
    """
    found = []
    for name, rows in arrays.items():
        bad = ~np.isfinite(row_magnitudes(cast_rows(rows, dtype)))
        for row in np.flatnonzero(bad).tolist():
            finite = np.isfinite(rows[row]).all()
            reason = f"overflows {dtype}" if finite else "has a value that is no number"
            found.append((row, name, reason))
    return sorted(found)


def check_same_features(
    what: str,
    *,
    stored: Mapping[str, FeatureInfo],
    wanted: Mapping[str, FeatureInfo],
) -> None:
    """Raises `SpecMismatchError` unless features that both have are the same.

    Args:
      what: The start of the message: "Feature store stores/x".
      stored: The features found there.
      wanted: The features asked for; a new one is welcome.
    """
    both = sorted(stored.keys() & wanted.keys())
    check_same_spec(
        what,
        stored={name: _plain(stored[name]) for name in both},
        wanted={name: _plain(wanted[name]) for name in both},
    )


def _plain(info: FeatureInfo) -> dict[str, Json]:
    return {**info._asdict(), "shape": list(info.shape)}
