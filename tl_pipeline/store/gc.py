"""Collecting what no kept snapshot uses: old snapshots, their rows, their failures.

Only the shards that hold such rows are written anew, without them; a shard keeps its
number and its place in the order of commit. As in every commit, the new files come
first, then the manifest, and only then are those unlinked that it no longer names. So
a collection that was killed is either undone by the next writer's sweep, or finished
by it.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import RequestError
from tl_pipeline.places import Place, find_place
from tl_pipeline.store.history import (
    add_dropped,
    add_parity,
    covered_shards,
    dropped_shards,
)
from tl_pipeline.store.index import KeyIndex, from_hex, sort_unique
from tl_pipeline.store.lookup import read_settled
from tl_pipeline.store.manifest import (
    Manifest,
    ShardEntry,
    SnapshotEntry,
    read_manifest,
    replace_manifest,
)
from tl_pipeline.store.reading import (
    read_keys,
    read_rows,
    read_verified,
    read_versions,
)
from tl_pipeline.store.schema import SHARDS, SNAPSHOTS
from tl_pipeline.store.shards import Shard, build_shard
from tl_pipeline.store.snapshots import parse_snapshot
from tl_pipeline.store.writer import sweep_leftovers, write_shard

KEEP = 5  # a working week of nightly runs can be read again, or compared


class GcPlan(NamedTuple):
    """What a collection drops.

    Attributes:
      keep: Snapshots kept of each dataset, the latest ones.
      snapshots: Names of the snapshots dropped.
      rewritten: Names of the shards written anew without some of their rows.
      removed: Names of the shards dropped as a whole.
      rows: Rows dropped, over all shards.
      bytes: About the bytes freed: the files dropped, and the dropped rows' share of
        the shards written anew.
      failures: Contents whose failures are forgotten.
    """

    keep: int
    snapshots: tuple[str, ...]
    rewritten: tuple[str, ...]
    removed: tuple[str, ...]
    rows: int
    bytes: int
    failures: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to drop."""
        return not (self.snapshots or self.rewritten or self.removed or self.failures)

    def to_json(self) -> dict[str, Json]:
        """Returns the plan as plain data."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self._asdict().items()
        }


def plan_gc(path: str | Place, *, keep: int = KEEP) -> GcPlan:
    """Lists what a collection would drop, and changes nothing.

    Rows that an unfinished extraction committed are in no snapshot yet, so they are
    listed too: finish it first, or it computes them again.

    Args:
      path: The store's folder.
      keep: How many snapshots of each dataset to keep, the latest ones.

    Raises:
      RequestError: `keep` is below 1, or the store has no snapshot yet.
      NotFoundError: There is no store.
      StoreDamagedError: A kept snapshot, or a shard's digests, are not the committed
        ones.
    """
    path = find_place(path)
    manifest = read_manifest(path)

    def reload() -> bool:
        nonlocal manifest
        older, manifest = manifest, read_manifest(path)
        return manifest != older

    return read_settled(lambda: _plan(path, manifest, keep)[0], reload)


def collect_garbage(path: Place, *, keep: int = KEEP) -> tuple[Manifest, GcPlan]:
    """Drops what `plan_gc` lists; the caller holds the store's lock.

    Returns:
      The manifest afterwards, and what was dropped.

    Raises:
      As `plan_gc`, before anything was written.
      OSError: The disk is full, and so on. All rows in use stand.
    """
    manifest = read_manifest(path)
    plan, used = _plan(path, manifest, keep)
    if plan.is_empty:
        return manifest, plan
    covered = covered_shards(path)
    # So that `verify` knows them for leftovers if we are killed before they are gone.
    if not dropped_shards(path).issuperset(plan.removed):
        add_dropped(path, "collection", plan.removed)
    shards: list[ShardEntry] = []
    vouched: list[str] = []
    for entry in manifest.shards:
        if entry.name in plan.rewritten:
            shard = _rebuild(path, manifest, entry, used)
            write_shard(path, shard)
            if entry.name in covered:
                vouched.append(shard.entry.name)
            entry = shard.entry
        if entry.name not in plan.removed:
            shards.append(entry)
    # Before the manifest: a name holds the digest of its rows, so a record of a shard
    # that never came to be vouches for nothing; one that came late could get lost.
    if not covered.issuperset(vouched):
        add_parity(path, {"collected": True, "shards": vouched})
    kept = _kept_contents(manifest, used)
    updated = dataclasses.replace(
        manifest,
        shards=tuple(shards),
        snapshots=tuple(
            entry for entry in manifest.snapshots if entry.name not in plan.snapshots
        ),
        failed={
            content: scopes
            for content, scopes in manifest.failed.items()
            if content in kept
        },
        retry=tuple(content for content in manifest.retry if content in kept),
    )
    replace_manifest(path, manifest, updated)
    # The lock began with a sweep, so what is not named now was named just before.
    sweep_leftovers(path, updated)
    return updated, plan


def _plan(path: Place, manifest: Manifest, keep: int) -> tuple[GcPlan, KeyIndex]:
    """Returns the plan, and the index of the contents that stay in use."""
    if keep < 1:
        raise RequestError(
            f"Asked to keep {keep} snapshots of each dataset; keep at least 1. To "
            "drop a whole store, delete its folder."
        )
    if not manifest.snapshots:
        raise RequestError(
            f"Asked to collect {path}: it has no snapshot yet, so nothing says which "
            "rows are in use. Finish its extraction first."
        )
    kept = _latest(manifest, keep)
    used = _used_contents(path, kept)
    snapshots = [entry for entry in manifest.snapshots if entry not in kept]
    rewritten, removed = [], []
    rows, size = 0, sum(entry.bytes for entry in snapshots)
    for shard in manifest.shards:
        keys = read_keys(path / SHARDS / shard.name, shard)
        stale = int((used.find(keys) < 0).sum())
        if stale:
            (removed if stale == shard.rows else rewritten).append(shard.name)
        rows += stale
        size += shard.bytes * stale // shard.rows
    failing = {*manifest.failed, *manifest.retry}
    plan = GcPlan(
        keep,
        tuple(entry.name for entry in snapshots),
        tuple(rewritten),
        tuple(removed),
        rows,
        size,
        len(failing - _kept_contents(manifest, used)),
    )
    return plan, used


def _latest(manifest: Manifest, keep: int) -> list[SnapshotEntry]:
    """Returns the last `keep` snapshots of each dataset."""
    of_dataset: dict[str, list[SnapshotEntry]] = {}
    for entry in manifest.snapshots:
        of_dataset.setdefault(entry.dataset, []).append(entry)
    return [entry for entries in of_dataset.values() for entry in entries[-keep:]]


def _used_contents(path: Place, kept: list[SnapshotEntry]) -> KeyIndex:
    parts = [np.empty((0, 32), np.uint8)]
    for entry in kept:
        file = path / SNAPSHOTS / entry.name
        data = read_verified(file, sha256=entry.sha256, size=entry.bytes)
        parts.append(parse_snapshot(file, data, entry).content)
    return KeyIndex(sort_unique(np.concatenate(parts)))


def _kept_contents(manifest: Manifest, used: KeyIndex) -> set[str]:
    """Returns the failing contents that stay in use, in hexadecimal."""
    failing = sorted({*manifest.failed, *manifest.retry})
    found = used.find(from_hex(failing)) >= 0
    return {content for content, stays in zip(failing, found, strict=True) if stays}


def _rebuild(
    path: Place, manifest: Manifest, entry: ShardEntry, used: KeyIndex
) -> Shard:
    """Builds a shard of the rows in use, which says what it said of them before."""
    file = path / SHARDS / entry.name
    keys = read_keys(file, entry)
    stays = used.find(keys) >= 0
    return build_shard(
        entry.number,
        keys[stays],
        {
            name: read_rows(file, entry, name, manifest.features[name])[stays]
            for name in entry.features
        },
        infos=manifest.features,
        spec=manifest.spec,
        recipe=entry.recipe,
        view=entry.view,
        versions=read_versions(file, entry),
    )
