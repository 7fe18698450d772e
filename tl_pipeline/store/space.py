"""What rows will take on the disk, before any of them is computed.

Sizes follow the layout of the files: chunks of whole rows, the last one as long as the
others, each with its checksum. What else a file holds (text attributes, HDF5's own
tables) is measured on a file of one row, built in memory.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.digest import Json, json_digest
from tl_pipeline.examples import Examples
from tl_pipeline.places import Place, find_place
from tl_pipeline.store.lock import check_platform
from tl_pipeline.store.manifest import Manifest
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import (
    CHUNK_BYTES,
    MANIFEST,
    FeatureInfo,
    check_features,
    choose_shard_rows,
    folder_name,
)
from tl_pipeline.store.shards import build_shard
from tl_pipeline.store.snapshots import build_snapshot
from tl_pipeline.store.store import FeatureStore, open_store

_CHECKSUM = 4  # bytes a chunk
_KEY, _VIEW = 32, 2  # bytes of a row beside its features


class ShardSpace(NamedTuple):
    """What the shards of some groups of rows will take.

    Attributes:
      shards: How many shards.
      bytes: Bytes of all their files.
      features: Bytes of them that are rows of a feature, by feature name.
    """

    shards: int
    bytes: int
    features: dict[str, int]


def foresee_store(
    root: str | Place,
    *,
    name: str,
    spec: Mapping[str, Json],
    features: Mapping[str, FeatureInfo],
    batch_size: int,
) -> FeatureStore:
    """Opens the store of a spec under a root, or the empty one that would be made.

    Takes what `FeatureStore.create_or_open` takes, and writes nothing.

    Raises:
      SpecMismatchError: The store has a feature with another shape or classifier.
      StoreDamagedError: Its manifest is not the committed one.
    """
    check_features(features)
    path = find_place(root) / folder_name(name, json_digest(spec))
    if (path / MANIFEST).exists():
        store = open_store(path, spec=spec)
    else:
        check_platform()
        rows = choose_shard_rows(features)
        store = FeatureStore(
            path, Manifest(name, spec, batch_size, rows, dict(features))
        )
    store.declare(features)
    return store


def make_store(foreseen: FeatureStore) -> FeatureStore:
    """Makes the store that `foresee_store` returned, unless it is there by now."""
    if (foreseen.path / MANIFEST).exists():
        return foreseen
    manifest = foreseen.manifest
    return FeatureStore.create_or_open(
        foreseen.path.parent,
        name=manifest.name,
        spec=manifest.spec,
        features=manifest.features,
        batch_size=manifest.batch_size,
    )


def measure_shards(
    groups: Sequence[Group],
    infos: Mapping[str, FeatureInfo],
    *,
    spec: Mapping[str, Json],
    versions: Mapping[str, Json],
) -> ShardSpace:
    """Returns what the shards of a plan will take, if no row fails.

    Args:
      groups: From `FeatureStore.plan`.
      infos: Features by name, those of the groups among them.
      spec: The store's spec, which each shard repeats.
      versions: What will compute the rows, which each shard repeats.
    """
    shards, total = 0, 0
    features: dict[str, int] = {}
    for group in groups:
        wanted = {name: infos[name] for name in group.features}
        fixed = _shard_overhead(group, wanted, spec, versions)
        lengths = [rows.stop - rows.start for rows in group.ranges]
        for n in set(lengths):
            times = lengths.count(n)
            for name, info in wanted.items():
                size = times * _chunked(n, info.row_bytes)
                features[name] = features.get(name, 0) + size
                total += size
            total += times * (fixed + _chunked(n, _KEY) + _chunked(n, _VIEW))
        shards += len(lengths)
    return ShardSpace(shards, total, features)


def measure_snapshot(store: FeatureStore, examples: Examples) -> int:
    """Returns the bytes of the snapshot of some examples; 0 if the store has it."""
    if not len(examples) or examples.digest in {s.digest for s in store.snapshots()}:
        return 0
    fixed = len(build_snapshot(examples.take([0]))[0]) - _columns(examples.take([0]))
    return fixed + _columns(examples)


def _shard_overhead(
    group: Group,
    infos: Mapping[str, FeatureInfo],
    spec: Mapping[str, Json],
    versions: Mapping[str, Json],
) -> int:
    """Returns the bytes of a shard that are there whatever the number of rows."""
    # Of rows of one number each: how long a row is does not show in the rest.
    slim = {
        name: info._replace(shape=(1,) * len(info.shape))
        for name, info in infos.items()
    }
    shard = build_shard(
        0,
        group.content[:1],
        {name: np.zeros((1, *info.shape), info.dtype) for name, info in slim.items()},
        infos=slim,
        spec=spec,
        recipe=group.recipe,
        view=group.view,
        versions=versions,
    )
    rows = sum(_chunked(1, info.row_bytes) for info in slim.values())
    return len(shard.data) - rows - _chunked(1, _KEY) - _chunked(1, _VIEW)


def _columns(examples: Examples) -> int:
    """Returns the bytes of an example table's columns, as a snapshot lays them out."""
    n = len(examples)
    texts = (examples.ids, examples.targets, examples.splits, examples.groups)
    widths = [
        max(1, max(len((text or "").encode()) for text in column)) for column in texts
    ]
    return sum(_chunked(n, width) for width in (*widths, _KEY, 1, 1))


def _chunked(n: int, row_bytes: int) -> int:
    """Returns the bytes of n rows in chunks of whole rows of about 1 MiB."""
    chunk = min(max(CHUNK_BYTES // row_bytes, 1), n)
    return math.ceil(n / chunk) * (chunk * row_bytes + _CHECKSUM)
