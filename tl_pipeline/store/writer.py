"""Committing: shard, reasons, manifest, in this order, each of them atomic.

Whatever was killed in between, the manifest on disk names only files that are whole.
Files that it does not name are leftovers, which the next writer sweeps away.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import BucketError, StoreError
from tl_pipeline.examples import Examples
from tl_pipeline.files import (
    TEMPORARY_PREFIX,
    make_folder,
    sync_folder,
    write_atomically,
)
from tl_pipeline.object_copies import keep_copy
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place
from tl_pipeline.store.failures import (
    Failure,
    merge_failures,
    read_failures,
    scope_of,
    settle,
    standing_failures,
    write_failures,
)
from tl_pipeline.store.lock import hold_lock
from tl_pipeline.store.manifest import Manifest, ShardEntry, replace_manifest
from tl_pipeline.store.plan import Group
from tl_pipeline.store.schema import (
    LOCK,
    MANIFEST,
    SHARD_NAME,
    SHARDS,
    SNAPSHOT_NAME,
    SNAPSHOTS,
    FeatureInfo,
    cast_rows,
    find_unstorable,
)
from tl_pipeline.store.shards import Shard, build_shard
from tl_pipeline.store.snapshots import build_snapshot

# Of objects that nothing names: a request's signature is good for 15 minutes.
FRESH_SECONDS = 3600


@contextlib.contextmanager
def writing(path: Place, *, locked: bool = True) -> Iterator[None]:
    """Turns a failed write into one sentence: where, why, what is left, what to do."""
    if not locked:
        raise StoreError(
            f"Feature store {path}: write within `with store.lock():`, not without."
        )
    try:
        yield
    except (BucketError, StoreError):
        raise
    except OSError as error:
        raise StoreError(
            f"Feature store {path} cannot be written "
            f"({error.strerror or error}). All that was committed stands: mend the "
            "cause and run the same command again, it continues from there."
        ) from error


def create_store(
    path: Place,
    manifest: Manifest,
    *,
    wait: bool = True,
    on_wait: Callable[[str], None] | None = None,
) -> None:
    """Makes an empty store in a folder, unless there is a store by then.

    Args:
      path: The folder, which may be there.
      manifest: The store's first manifest.
      wait: Whether to wait while another process makes it.
      on_wait: Called with a sentence that says who that is.

    Raises:
      StoreLockedError: Another process makes it, and `wait` is False.
      StoreError: The folder cannot be written.
    """
    with writing(path):
        for folder in (path, path / SHARDS, path / SNAPSHOTS):
            make_folder(folder)
        # Two may come here at once: the second finds the first one's manifest.
        with hold_lock(path, wait=wait, on_wait=on_wait):
            if not (path / MANIFEST).exists():
                replace_manifest(path, None, manifest)


def commit_rows(
    path: Place,
    manifest: Manifest,
    group: Group,
    range_index: int,
    *,
    content: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    infos: Mapping[str, FeatureInfo],
    failed: Sequence[Failure],
    versions: Mapping[str, Json],
) -> tuple[Manifest, str | None]:
    """Commits one range of a plan, with or without a shard, and its failures.

    Returns:
      The new manifest, and the shard's name, or None if every row failed.

    Raises:
      StoreError: The rows are not those of the range, or cannot be stored as they
        are. Nothing was written then.
      OSError: The disk is full, and so on. Nothing is committed then.
    """
    shard = build_range(
        path,
        group,
        range_index,
        number=manifest.next_number,
        content=content,
        arrays=arrays,
        infos=infos,
        failed=failed,
        spec=manifest.spec,
        versions=versions,
    )
    if shard is not None:
        write_shard(path, shard)
    entry = shard and shard.entry
    updated = commit_entry(
        path, manifest, group, range_index, entry=entry, infos=infos, failed=failed
    )
    return updated, entry and entry.name


def write_shard(path: Place, shard: Shard) -> None:
    """Writes a shard to its place, where nothing names it yet.

    Raises:
      OSError: The disk is full, and so on.
    """
    file = path / SHARDS / shard.entry.name
    write_atomically(file, shard.data)
    if isinstance(file, ObjectPath):  # who trains on it next need not fetch it
        keep_copy(shard.entry.sha256, shard.data)


def build_range(
    path: Place,
    group: Group,
    range_index: int,
    *,
    number: int,
    content: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    infos: Mapping[str, FeatureInfo],
    failed: Sequence[Failure],
    spec: Mapping[str, Json],
    versions: Mapping[str, Json],
) -> Shard | None:
    """Builds the shard of one range of a plan, in memory; None if every row failed.

    Raises:
      StoreError: The rows are not those of the range, or cannot be stored.
    """
    attempted = list_range(group, range_index)
    _check_range(path, group, attempted, content, arrays, infos, failed)
    cast = {
        name: cast_rows(arrays[name], infos[name].dtype)
        for name in group.features
        if len(content)
    }
    _check_finite(path, content, cast)
    if not len(content):
        return None
    return build_shard(
        number,
        content,
        cast,
        infos=infos,
        spec=spec,
        recipe=group.recipe,
        view=group.view,
        versions=versions,
    )


def commit_entry(
    path: Place,
    manifest: Manifest,
    group: Group,
    range_index: int,
    *,
    entry: ShardEntry | None,
    infos: Mapping[str, FeatureInfo],
    failed: Sequence[Failure],
) -> Manifest:
    """Commits one range of a plan whose shard is in its place, and its failures.

    Args:
      path: The store's folder.
      manifest: What it holds.
      group: A group of its plan.
      range_index: Which of its ranges.
      entry: Of the shard; None if every row failed.
      infos: What is known of the group's features.
      failed: The rows that failed.

    Returns:
      The new manifest.

    Raises:
      OSError: The disk is full, and so on. Nothing is committed then.
    """
    failed = [
        failure._replace(feature=scope_of(failure.feature, group.recipe, group.view))
        for failure in failed
    ]
    scopes = settle(
        manifest,
        attempted=list_range(group, range_index),
        features=group.features,
        recipe=group.recipe,
        view=group.view,
        failed=failed,
    )
    added = {name: infos[name] for name in group.features}
    updated = dataclasses.replace(
        manifest,
        features={**manifest.features, **added},
        shards=(*manifest.shards, *([entry] if entry else [])),
        failed=scopes[0],
        retry=scopes[1],
    )
    # Both old and new reasons, until the manifest says which of them stand.
    write_failures(path, merge_failures(read_failures(path), failed))
    if updated != manifest:
        replace_manifest(path, manifest, updated)
    prune_failures(path, updated)
    return updated


def list_range(group: Group, range_index: int) -> list[str]:
    """Returns the content digests of one range of a plan, in hexadecimal."""
    return [row.tobytes().hex() for row in group.content[group.ranges[range_index]]]


def commit_examples(path: Place, manifest: Manifest, examples: Examples) -> Manifest:
    """Commits a snapshot as its dataset's latest; one that is there is not rewritten.

    Raises:
      OSError: The disk is full, and so on. Nothing is committed then.
    """
    data, entry = build_snapshot(examples)
    ours = [old for old in manifest.snapshots if old.dataset == entry.dataset]
    if ours and ours[-1].digest == entry.digest:
        return manifest
    known = [old for old in ours if old.digest == entry.digest]
    others = tuple(old for old in manifest.snapshots if old not in known)
    updated = dataclasses.replace(
        manifest, snapshots=(*others, known[0] if known else entry)
    )
    if not known:
        write_atomically(path / SNAPSHOTS / entry.name, data)
    replace_manifest(path, manifest, updated)
    return updated


def prune_failures(path: Place, manifest: Manifest) -> None:
    """Drops the reasons of failures that the manifest does not name."""
    failures = read_failures(path)
    kept = standing_failures(path, manifest)
    if kept != failures:
        write_failures(path, kept)


def sweep_leftovers(path: Place, manifest: Manifest) -> list[str]:
    """Removes what a killed writer left behind, and returns the names, sorted.

    Temporary files, shards and snapshots that the manifest does not name. Files of
    any other name are someone else's and stay. In a bucket, so do those of the last
    hour: a writer whose lease was taken over may just have put one, to commit it.
    """
    # By the server's clock, which the lease that was just put tells.
    before = 0
    if isinstance(path, ObjectPath):
        before = (path / LOCK).look().modified_ns - FRESH_SECONDS * 10**9
    named = {entry.name for entry in (*manifest.shards, *manifest.snapshots)}
    removed = []
    for folder, pattern in (
        (path, None),
        (path / SHARDS, SHARD_NAME),
        (path / SNAPSHOTS, SNAPSHOT_NAME),
    ):
        stale = [
            file
            for file in _list_files(folder, before)
            if file.name.startswith(TEMPORARY_PREFIX)
            or (pattern and pattern.fullmatch(file.name) and file.name not in named)
        ]
        for file in stale:
            file.unlink()
        if stale:
            sync_folder(folder)
        removed += [str(file)[len(f"{path}/") :] for file in stale]
    prune_failures(path, manifest)
    return sorted(removed)


def _list_files(folder: Place, before: int) -> Iterator[Place]:
    """Yields what lies in a folder; in a bucket, what was put before some time."""
    if isinstance(folder, ObjectPath):
        for found in folder.list_objects():
            if found.modified_ns < before:
                yield found.path
    elif folder.is_dir():
        yield from folder.iterdir()


def _check_range(
    path: Place,
    group: Group,
    attempted: list[str],
    content: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    infos: Mapping[str, FeatureInfo],
    failed: Sequence[Failure],
) -> None:
    computed = [row.tobytes().hex() for row in content]
    lost = {failure.content for failure in failed}
    if computed != [digest for digest in attempted if digest not in lost] or not (
        lost <= set(attempted)
    ):
        raise StoreError(
            f"Feature store {path}: a commit of {len(computed)} rows and {len(lost)} "
            f"failures does not account, in order, for the {len(attempted)} rows of "
            "its range. Commit every row of the range or its failure."
        )
    for name in group.features if len(content) else ():
        shape = (len(content), *infos[name].shape)
        if name not in arrays or arrays[name].shape != shape:
            found = list(arrays[name].shape) if name in arrays else "nothing"
            raise StoreError(
                f"Feature store {path}: rows of {name} should have shape "
                f"{list(shape)}, got {found}."
            )


def _check_finite(
    path: Place, content: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> None:
    for name, rows in arrays.items():
        for row, _, reason in find_unstorable({name: rows}, rows.dtype.name):
            raise StoreError(
                f"Feature store {path}: {name} of {content[row].tobytes().hex()} "
                f"{reason}. Commit it as a failure of the kind `value`."
            )
