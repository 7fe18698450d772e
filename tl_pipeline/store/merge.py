"""Merging the small shards that nightly extractions leave behind.

Which shards are merged, and into what, follows from what is committed alone. As in
every commit, the new files come first, then one manifest for all of them, and only
then are those unlinked that it no longer names: a merge that was killed is undone by
the next writer's sweep and done again, or finished by it.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.digest import canonical_json
from tl_pipeline.places import Place
from tl_pipeline.store.history import (
    add_dropped,
    add_parity,
    covered_shards,
    dropped_shards,
)
from tl_pipeline.store.manifest import (
    Manifest,
    ShardEntry,
    read_manifest,
    replace_manifest,
)
from tl_pipeline.store.reading import read_keys, read_rows, read_versions
from tl_pipeline.store.schema import SHARDS, range_rows
from tl_pipeline.store.shards import Shard, build_shard
from tl_pipeline.store.writer import sweep_leftovers, write_shard

# A month of nights. A row is written anew at most once a month then, and about five
# times until its shard is half full and is left alone.
MOST_SMALL = 32


class Merged(NamedTuple):
    """What a merge did: so many small shards became so many larger ones."""

    shards: int
    into: int


def merge_small_shards(
    path: Place, *, most: int = MOST_SMALL
) -> tuple[Manifest, Merged]:
    """Merges small shards where there are many; the caller holds the store's lock.

    A shard is small below half of the rows that one can hold. Those of the same
    features, view, library versions and live checks are merged once there are more
    than `most` of them, in order of commit, each into as full a shard as it fits.

    Args:
      path: The store's folder.
      most: How many small shards of a kind may stay.

    Returns:
      The manifest afterwards, and what was done.

    Raises:
      StoreDamagedError: A small shard is not the committed one; nothing was changed.
      OSError: The disk is full, and so on. All rows stand.
    """
    manifest = read_manifest(path)
    covered = covered_shards(path)
    bins = _plan(path, manifest, covered, most)
    if not bins:
        return manifest, Merged(0, 0)
    replaced: dict[str, ShardEntry | None] = {}
    vouched: list[str] = []
    for entries in bins:
        shard = _build(path, manifest, entries)
        write_shard(path, shard)
        if entries[0].name in covered:
            vouched.append(shard.entry.name)
        replaced |= dict.fromkeys(entry.name for entry in entries)
        replaced[entries[0].name] = shard.entry
    # Before the manifest, as in a collection: who was here, should we be killed.
    if not dropped_shards(path).issuperset(replaced):
        add_dropped(path, "merge", list(replaced))
    if not covered.issuperset(vouched):
        add_parity(path, {"merged": True, "shards": vouched})
    shards = [replaced.get(entry.name, entry) for entry in manifest.shards]
    updated = dataclasses.replace(
        manifest, shards=tuple(entry for entry in shards if entry is not None)
    )
    replace_manifest(path, manifest, updated)
    sweep_leftovers(path, updated)
    return updated, Merged(len(replaced), len(bins))


def _plan(
    path: Place, manifest: Manifest, covered: set[str], most: int
) -> list[list[ShardEntry]]:
    """Returns the shards to merge, those that become one together."""
    alike: dict[tuple[object, ...], list[ShardEntry]] = defaultdict(list)
    for entry in manifest.shards:
        if 2 * entry.rows < _capacity(manifest, entry):
            key = (entry.features, entry.recipe, entry.view, entry.name in covered)
            alike[key].append(entry)
    bins: list[list[ShardEntry]] = []
    for entries in alike.values():
        if len(entries) <= most:
            continue
        # Only now, as the versions stand within the files.
        of_versions: dict[str, list[ShardEntry]] = defaultdict(list)
        for entry in entries:
            versions = read_versions(path / SHARDS / entry.name, entry)
            of_versions[canonical_json(versions)].append(entry)
        for same in of_versions.values():
            if len(same) > most:
                bins += _pack(same, _capacity(manifest, same[0]))
    return [entries for entries in bins if len(entries) > 1]


def _pack(entries: Sequence[ShardEntry], capacity: int) -> list[list[ShardEntry]]:
    """Packs shards in order, opening the next bin where one would overflow."""
    bins: list[list[ShardEntry]] = [[]]
    rows = 0
    for entry in entries:
        if rows + entry.rows > capacity:
            bins.append([])
            rows = 0
        bins[-1].append(entry)
        rows += entry.rows
    return bins


def _capacity(manifest: Manifest, entry: ShardEntry) -> int:
    infos = [manifest.features[name] for name in entry.features]
    return range_rows(manifest.shard_rows, infos)


def _build(path: Place, manifest: Manifest, entries: Sequence[ShardEntry]) -> Shard:
    """Builds the shard of all their rows, in the order of content digests."""
    files = [path / SHARDS / entry.name for entry in entries]
    pairs = list(zip(files, entries, strict=True))
    content = np.concatenate([read_keys(file, entry) for file, entry in pairs])
    words = content.view(">u8").astype(np.uint64)
    order = np.lexsort(words.T[::-1])
    first = entries[0]
    return build_shard(
        first.number,
        content[order],
        {
            name: np.concatenate(
                [
                    read_rows(file, entry, name, manifest.features[name])
                    for file, entry in pairs
                ]
            )[order]
            for name in first.features
        },
        infos=manifest.features,
        spec=manifest.spec,
        recipe=first.recipe,
        view=first.view,
        versions=read_versions(files[0], first),
    )
