"""Parts: ranges of a plan that other processes compute, in files that nothing names.

Who holds no lock may write a part: its rows, whole and synced, under a temporary name
among the shards. Who holds the lock gives the file its number and commits it, so that
a store is the same whoever computed its rows. A part that nobody commits is a leftover,
which the next writer sweeps away.
"""

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.digest import Json, bytes_digest
from tl_pipeline.errors import StoreError
from tl_pipeline.files import (
    TEMPORARY_PREFIX,
    rename_file,
    sync_folder,
    write_atomically,
)
from tl_pipeline.places import Place
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.manifest import Manifest, ShardEntry
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import SHARDS, FeatureInfo
from tl_pipeline.store.shards import name_shard
from tl_pipeline.store.writer import build_range, commit_entry, list_range, writing


class Part(NamedTuple):
    """A range that is computed and not yet committed.

    Attributes:
      file: The temporary name of its rows; "" if every row failed.
      entry: What the manifest will say of them, but for the name; None likewise.
      failed: The rows that failed.
    """

    file: str
    entry: ShardEntry | None
    failed: tuple[Failure, ...]


def write_part(
    path: Place,
    group: Group,
    *,
    content: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    infos: Mapping[str, FeatureInfo],
    failed: Sequence[Failure],
    spec: Mapping[str, Json],
    versions: Mapping[str, Json],
) -> Part:
    """Writes the rows of a group of one range beside the shards of a store.

    Args:
      path: The store's folder.
      group: The rows that were asked for.
      content: [k, 32] uint8, the digests that gave rows, in the group's order.
      arrays: [k, ...] floating rows by feature name; cast to the store's dtype.
      infos: What rows of the group's features look like.
      failed: The others, each with its reason.
      spec: The feature spec as plain data.
      versions: Library versions and platform, written with the rows.

    Raises:
      StoreError: The rows are not the group's, or cannot be written.
    """
    with writing(path):
        shard = build_range(
            path,
            group,
            0,
            number=0,
            content=content,
            arrays=arrays,
            infos=infos,
            failed=failed,
            spec=spec,
            versions=versions,
        )
        if shard is None:
            return Part("", None, tuple(failed))
        file = f"{TEMPORARY_PREFIX}part-{uuid.uuid4().hex}"
        write_atomically(path / SHARDS / file, shard.data)
    return Part(file, shard.entry, tuple(failed))


def commit_part(
    path: Place,
    manifest: Manifest,
    group: Group,
    range_index: int,
    part: Part,
    *,
    infos: Mapping[str, FeatureInfo],
) -> Manifest:
    """Commits one range of a plan that `write_part` wrote; see `commit_rows`.

    Returns:
      The new manifest.

    Raises:
      StoreError: The part is of other rows, or its file is not here.
      OSError: The store cannot be written. Nothing is committed then.
    """
    _check_part(path, group, range_index, part)
    entry = part.entry
    if entry is not None:
        name = name_shard(manifest.next_number, entry.sha256)
        entry = dataclasses.replace(entry, name=name)
        rename_file(path / SHARDS / part.file, path / SHARDS / name)
        sync_folder(path / SHARDS)
    return commit_entry(
        path, manifest, group, range_index, entry=entry, infos=infos, failed=part.failed
    )


def _check_part(path: Place, group: Group, range_index: int, part: Part) -> None:
    lost = {failure.content for failure in part.failed}
    attempted = list_range(group, range_index)
    kept = [bytes.fromhex(digest) for digest in attempted if digest not in lost]
    expected = (group.features, bytes_digest(b"".join(kept))) if kept else None
    entry = part.entry
    if expected != (entry and (entry.features, entry.keys_sha256)) or not (
        lost <= set(attempted)
    ):
        raise StoreError(
            f"Feature store {path}: a part of {entry.rows if entry else 0} rows and "
            f"{len(lost)} failures does not account for the {len(attempted)} rows of "
            "its range. Commit it as the range that it was computed for."
        )
    if entry is None:
        return
    file = path / SHARDS / part.file
    found = file.stat().st_size if file.exists() else None
    if found != entry.bytes:
        size = "there is no such file" if found is None else f"it has {found:,}"
        raise StoreError(
            f"Feature store {path}: {entry.bytes:,} bytes of rows were written to "
            f"{SHARDS}/{part.file} where they were computed; here {size}. Let all "
            "machines see the same folder under the same path, and run it again."
        )
