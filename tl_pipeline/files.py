"""Files that are either the old ones or the new ones, whatever happens.

A write goes to a temporary name in the same folder, is synced, and takes the final
name by one rename; then the folder is synced too, without which the rename itself may
be lost. Temporary names begin with `.tmp-`, so that a sweep can tell them.

An object in a bucket is put in one step, and is durable when that returns.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tl_pipeline.digest import Json, canonical_json
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place

TEMPORARY_PREFIX = ".tmp-"


def write_atomically(path: Place, data: bytes | memoryview) -> None:
    """Replaces a file's content in one step that survives a crash.

    Raises:
      OSError: The disk is full, the folder is missing, and so on; the old content, if
        there was any, is untouched, and the temporary file is gone.
    """
    if isinstance(path, ObjectPath):
        return path.write_bytes(data)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{os.getpid()}")
    try:
        with temporary.open("wb", buffering=0) as file:
            view = memoryview(data)
            while len(view):  # an unbuffered write may take less than it was given
                view = view[file.write(view) :]
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Place) -> None:
    """Makes the names in a folder durable: renames, new files, removals."""
    if isinstance(folder, ObjectPath):
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder(kind: str) -> Path:
    """Returns where this user's caches of a kind are; whoever writes there makes it.

    Args:
      kind: What is kept: the name of the folder.
    """
    if sys.platform == "darwin":
        caches = Path("~/Library/Caches")
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return caches.expanduser() / "tl_pipeline" / kind


def make_folder(folder: Place) -> None:
    """Makes a folder and its missing parents, whose names then survive a crash.

    A bucket has no folders to make.

    Raises:
      OSError: One of them cannot be made.
    """
    if isinstance(folder, ObjectPath):
        return
    for path in reversed((folder, *folder.parents)):
        made = not path.is_dir()
        if made:
            path.mkdir(exist_ok=True)
        # Also what is there: whoever made it may have been killed before its sync.
        # Of folders that are not ours that is more than we are owed.
        with contextlib.suppress(*([] if made else [OSError])):
            sync_folder(path.parent)


def rename_file(source: Place, target: Place) -> None:
    """Gives a file another name, in its folder or its bucket.

    Raises:
      OSError: It is not there, and so on.
    """
    if isinstance(source, ObjectPath):
        assert isinstance(target, ObjectPath)
        source.replace(target)
    else:
        assert isinstance(target, Path)
        source.replace(target)


def write_json(path: Place, value: Json) -> None:
    """Replaces a file by a value's canonical JSON and a newline, atomically."""
    write_atomically(path, (canonical_json(value) + "\n").encode())


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Json]]) -> None:
    """Replaces a file by one canonical JSON object a line, atomically."""
    text = "".join(canonical_json(row) + "\n" for row in rows)
    write_atomically(path, text.encode())


def read_jsonl(path: Path) -> list[dict[str, Json]]:
    """Reads a file of one JSON object a line; a missing file has no lines."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line]
