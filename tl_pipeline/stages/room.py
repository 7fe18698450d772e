"""Whether an extraction fits on the disk and in host memory, before it begins."""

import dataclasses
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tl_pipeline.errors import RoomError
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place
from tl_pipeline.reporting.sentences import format_bytes
from tl_pipeline.stages.host_memory import find_host_free
from tl_pipeline.stages.inputs import window_size
from tl_pipeline.stages.targets import Target
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.space import ShardSpace, measure_shards, measure_snapshot

# Beside what is counted: manifests, written anew beside the old one, records, the run.
MARGIN_SHARE = 0.05
MARGIN_BYTES = 4 * 2**20

_FLOAT32 = 4


@dataclasses.dataclass(frozen=True)
class Room:
    """What an extraction takes, and what there is, all in bytes.

    Attributes:
      shards: What the shards of each target take, in the order of the targets.
      snapshots: What the new snapshot of each takes; 0 where the store has it.
      disk_margin: Kept free beside them.
      disk_free: Free on the disk that holds the stores; a quota may leave less. None
        of a bucket, which has no end.
      host_bytes: Memory of the rows of a shard and of decoded inputs, at their most;
        without the activations of a network that runs on the CPU.
      host_free: Memory that can be had, None where the system does not say.
    """

    shards: tuple[ShardSpace, ...]
    snapshots: tuple[int, ...]
    disk_margin: int
    disk_free: int | None
    host_bytes: int
    host_free: int | None

    @property
    def disk_bytes(self) -> int:
        """All bytes to write, without the margin."""
        return sum(space.bytes for space in self.shards) + sum(self.snapshots)


def measure_room(
    targets: Sequence[Target],
    plans: Sequence[Sequence[Group]],
    *,
    root: Place,
    workers: int | None = None,
) -> Room:
    """Measures what an extraction takes; arithmetic only.

    Args:
      targets: What to compute.
      plans: What each of them lacks.
      root: The folder of the stores, which may not be there yet.
      workers: Decoding threads; by default one a core.
    """
    shards = tuple(
        measure_shards(
            plan,
            target.infos,
            spec=target.store.spec,
            versions=target.versions,
        )
        for target, plan in zip(targets, plans, strict=True)
    )
    snapshots = tuple(
        0 if t.number else measure_snapshot(t.store, t.examples) for t in targets
    )
    total = sum(space.bytes for space in shards) + sum(snapshots)
    return Room(
        shards=shards,
        snapshots=snapshots,
        disk_margin=MARGIN_BYTES + int(MARGIN_SHARE * total),
        disk_free=find_disk_free(root),
        host_bytes=_host_bytes(targets, plans, workers),
        host_free=find_host_free(),
    )


def check_room(room: Room, *, root: Place) -> None:
    """Raises where an extraction cannot fit.

    Args:
      room: From `measure_room`.
      root: The folder of the stores.

    Raises:
      RoomError: It does not fit on the disk, or not in memory.
    """
    wanted = room.disk_bytes + room.disk_margin
    if room.disk_free is not None and wanted > room.disk_free:
        raise RoomError(
            f"Asked to write {format_bytes(room.disk_bytes)} of features under {root}, "
            f"with {format_bytes(room.disk_margin)} to spare: "
            f"{format_bytes(room.disk_free)} are free there, "
            f"{format_bytes(wanted - room.disk_free)} too few. Free some, name another "
            "--store-root ([store] root), or ask for fewer or pooled features, or for "
            "float16; nothing was computed."
        )
    if room.host_free is not None and room.host_bytes > room.host_free:
        raise RoomError(
            f"Asked for rows that take {format_bytes(room.host_bytes)} of memory at a "
            f"time: {format_bytes(room.host_free)} can be had, "
            f"{format_bytes(room.host_bytes - room.host_free)} too few. Ask for fewer "
            "or pooled features, a smaller batch size for a new store, or end other "
            "programs; nothing was computed."
        )


def find_disk_free(root: Place) -> int | None:
    """Returns the bytes free on the disk that holds, or will hold, a folder."""
    if isinstance(root, ObjectPath):
        return None
    folder = Path(os.path.abspath(root))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _host_bytes(
    targets: Sequence[Target],
    plans: Sequence[Sequence[Group]],
    workers: int | None,
) -> int:
    """Returns the most memory that rows and inputs take at a time."""
    if not any(plans):
        return 0
    total = 0
    window = window_size(workers)
    for target, plan in zip(targets, plans, strict=True):
        if not plan:
            continue
        total += max(_group_bytes(group, target.infos) for group in plan)
        preprocess = target.backbone.preprocess
        one = math.prod(preprocess.input_shape) * np.dtype(preprocess.dtype).itemsize
        # Inputs decoded ahead, and a batch being filled beside two on their way.
        total += one * (window + 3 * target.store.batch_size)
    return total


def _group_bytes(group: Group, infos: Mapping[str, FeatureInfo]) -> int:
    """Returns the memory of the longest range of a group when it is committed.

    Batches in float32 and the array they are joined to, then rows in the store's dtype
    beside the shard's file, for which a growing buffer may be copied.
    """
    rows = max(r.stop - r.start for r in group.ranges)
    total = 0
    for name in group.features:
        stored = infos[name].row_bytes
        wide = math.prod(infos[name].shape) * _FLOAT32
        total += rows * (2 * wide + 3 * stored)
    return total
