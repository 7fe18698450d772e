"""Checking a whole store against its manifest, byte by byte."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from tl_pipeline.digest import Json, bytes_digest, canonical_json, short_digest
from tl_pipeline.errors import StoreError
from tl_pipeline.files import TEMPORARY_PREFIX
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place, find_place
from tl_pipeline.store.copies import read_original
from tl_pipeline.store.describe import count_bytes
from tl_pipeline.store.failures import is_named, missing_reasons, read_failures
from tl_pipeline.store.guards import check_dataset, read_text
from tl_pipeline.store.history import dropped_shards, read_history
from tl_pipeline.store.index import sort_unique
from tl_pipeline.store.manifest import Manifest, ShardEntry, read_manifest
from tl_pipeline.store.reading import (
    keys_within,
    parsed,
    read_layouts,
    read_verified,
)
from tl_pipeline.store.schema import (
    CONTENT,
    FAILURES,
    FEATURES,
    HISTORY,
    HOLDER,
    LOCK,
    MANIFEST,
    SHARD_NAME,
    SHARDS,
    SNAPSHOT_NAME,
    SNAPSHOTS,
    VIEW,
)
from tl_pipeline.store.snapshots import parse_snapshot

_OWN_FILES = {MANIFEST, FAILURES, HISTORY, LOCK, HOLDER, SHARDS, SNAPSHOTS}

# Shards found intact, by name: the entry they were checked for, and their digests.
_Checked = dict[str, tuple[ShardEntry, np.ndarray]]


def verify_store(path: str | Place) -> dict[str, Json]:
    """Reads every byte of a store and lists what is wrong with it.

    Leftovers of a killed writer are notes: nothing reads them, the next writer sweeps
    them away. All else that the manifest does not vouch for is a problem.

    Args:
      path: The store's folder.

    Returns:
      `intact`, `problems` and `notes` (sentences), and counts: `shards`, `rows`,
      `snapshots`, `failures`, `bytes`.

    Raises:
      NotFoundError: There is no store.
    """
    path = find_place(path)
    try:
        manifest = read_manifest(path)
        checked: _Checked = {}
        while True:
            report = _check(path, manifest, checked)
            now = read_manifest(path)
            # A problem is one only if no writer committed meanwhile. Reading on with
            # the new shards alone catches up with a writer, reading all would not.
            if report["intact"] or now == manifest:
                return report
            manifest = now
    except StoreError as error:  # of the manifest: what it names is not known
        return _report([str(error)], [], None)


def _check(path: Place, manifest: Manifest, checked: _Checked) -> dict[str, Json]:
    problems = [
        *_check_shards(path, manifest, checked),
        *_check_snapshots(path, manifest),
    ]
    notes: list[str] = []
    for is_problem, sentence in (
        *_check_reasons(path, manifest),
        *_check_others(path, manifest),
    ):
        (problems if is_problem else notes).append(sentence)
    return _report(problems, notes, manifest)


def _report(
    problems: list[str], notes: list[str], manifest: Manifest | None
) -> dict[str, Json]:
    return {
        "intact": not problems,
        "problems": problems,
        "notes": notes,
        "shards": len(manifest.shards) if manifest else None,
        "rows": sum(shard.rows for shard in manifest.shards) if manifest else None,
        "snapshots": len(manifest.snapshots) if manifest else None,
        "failures": len(manifest.failed) + len(manifest.retry) if manifest else None,
        "bytes": count_bytes(manifest) if manifest else None,
    }


def _check_shards(path: Place, manifest: Manifest, checked: _Checked) -> Iterator[str]:
    keys: dict[tuple[str, str, int], list[np.ndarray]] = {}
    for shard in manifest.shards:
        try:
            entry, content = checked.get(shard.name, (None, None))
            if content is None or entry != shard:
                content = _check_shard(path / SHARDS / shard.name, shard, manifest)
                checked[shard.name] = shard, content
        except FileNotFoundError:
            yield f"{path / SHARDS / shard.name} is not there."
        except StoreError as error:
            yield str(error)
        else:
            for feature in shard.features:
                view = (feature, shard.recipe, shard.view)
                keys.setdefault(view, []).append(content)
    for (feature, recipe, view), parts in keys.items():
        content = np.concatenate(parts)
        twice = len(content) - len(sort_unique(content))
        if twice:
            yield (
                f"{path} holds {twice} rows of {feature} (recipe {recipe}, view "
                f"{view}) more than once."
            )


def _read(path: Place, *, sha256: str, size: int) -> bytes:
    read = read_original if isinstance(path, ObjectPath) else read_verified
    return read(path, sha256=sha256, size=size)  # type: ignore[arg-type]


def _check_shard(path: Place, shard: ShardEntry, manifest: Manifest) -> np.ndarray:
    data = _read(path, sha256=shard.sha256, size=shard.bytes)
    read_layouts(path, data, shard.features)  # for its checks
    content = keys_within(path, data, shard, start=shard.keys_offset)
    with parsed(path, data) as file:
        for name in shard.features:
            info = manifest.features[name]
            check_dataset(
                file,
                f"{FEATURES}/{name}",
                shape=(shard.rows, *info.shape),
                dtype=info.dtype,
                what=str(path),
            )
        stored = check_dataset(
            file, CONTENT, shape=(shard.rows, 32), dtype="uint8", what=str(path)
        )
        views = check_dataset(
            file, VIEW, shape=(shard.rows,), dtype="uint16", what=str(path)
        )
        if not np.array_equal(stored[...], content) or (views[...] != shard.view).any():
            raise StoreError(f"{path}: its rows are not those of the manifest.")
    return content


def _check_snapshots(path: Place, manifest: Manifest) -> Iterator[str]:
    for entry in manifest.snapshots:
        file = path / SNAPSHOTS / entry.name
        try:
            data = _read(file, sha256=entry.sha256, size=entry.bytes)
            if parse_snapshot(file, data, entry).digest != entry.digest:
                yield f"{file} holds another example table than the manifest says."
        except FileNotFoundError:
            yield f"{file} is not there."
        except StoreError as error:
            yield str(error)


def _check_reasons(path: Place, manifest: Manifest) -> Iterator[tuple[bool, str]]:
    try:
        failures = read_failures(path)
    except StoreError as error:
        yield True, str(error)
    else:
        lost = missing_reasons(failures, manifest)
        if lost:
            yield (
                True,
                (
                    f"{path / FAILURES} lacks the reason of {len(lost)} failures, the "
                    f"first {lost[0]}. Extract again: they are attempted again."
                ),
            )
        stale = sum(not is_named(failure, manifest) for failure in failures)
        if stale:
            yield False, f"{path / FAILURES} has {stale} lines of a killed writer."
    try:
        read_history(path)
    except StoreError as error:
        yield True, str(error)


def _check_others(path: Place, manifest: Manifest) -> Iterator[tuple[bool, str]]:
    """Yields the files that the manifest does not name, and whether that is bad."""
    named = {entry.name for entry in (*manifest.shards, *manifest.snapshots)}
    for file in sorted(path.iterdir(), key=str):
        if file.name not in _OWN_FILES:
            yield _judge(file, is_leftover=False)
    try:
        dropped = dropped_shards(path)
    except StoreError:  # a problem of its own, see `_check_reasons`
        dropped = set()
    rewritten = {shard.number for shard in manifest.shards}
    numbers: Counter[int] = Counter()
    for folder in (SHARDS, SNAPSHOTS):
        entries = (path / folder).iterdir() if (path / folder).is_dir() else ()
        for file in sorted(entries, key=str):
            if file.name in named:
                continue
            if folder == SNAPSHOTS:
                yield _judge(file, is_leftover=_is_snapshot(file))
                continue
            match = SHARD_NAME.fullmatch(file.name)
            number = int(match[1]) if match else -1
            numbers[number] += 1
            is_next = number == manifest.next_number and numbers[number] == 1
            # A collection writes a shard anew under the number it has.
            is_other = (
                number in rewritten
                and numbers[number] == 1
                and _is_own_shard(file, manifest)
            )
            yield _judge(file, is_leftover=is_next or is_other or file.name in dropped)


def _judge(file: Place, *, is_leftover: bool) -> tuple[bool, str]:
    if is_leftover or file.name.startswith(TEMPORARY_PREFIX):
        return False, f"{file} is the leftover of a killed writer; nothing reads it."
    return True, f"{file} is not part of the store: move it elsewhere."


def _is_own_shard(file: Place, manifest: Manifest) -> bool:
    """Tells whether a whole shard, by its name's digest, is of the store's spec."""
    try:
        data = file.read_bytes()
        if not file.stem.endswith(f"-{short_digest(bytes_digest(data))}"):
            return False
        with parsed(file, data) as opened:
            return read_text(opened, "spec", what=str(file)) == canonical_json(
                manifest.spec
            )
    except OSError:  # a damaged file is one too
        return False


def _is_snapshot(file: Place) -> bool:
    """Tells whether a file that the manifest does not name reads as a snapshot."""
    if not SNAPSHOT_NAME.fullmatch(file.name) or not file.is_file():
        return False
    try:
        data = file.read_bytes()
        with parsed(file, data) as opened:
            return "id" in opened and "split" in opened
    except (OSError, StoreError):
        return False
