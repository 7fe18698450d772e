"""What lies below an address: a listing, which tells a changed object from an old one.

The listing's size, time and ETag stand for a file's stamp, so that content digests are
remembered as those of local files are, and an unchanged object is not read.
"""

import hashlib
import posixpath
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from tl_pipeline.data.scanning import Folder
from tl_pipeline.data.stat_cache import Stamp
from tl_pipeline.errors import RequestError
from tl_pipeline.object_copies import fetch_version
from tl_pipeline.object_paths import Listed, ObjectPath, parse_address
from tl_pipeline.places import is_url


def scan_objects(root: ObjectPath) -> tuple[Folder, dict[str, Stamp]]:
    """Lists the objects at any depth below an address, as a tree of folders.

    An object whose key ends in a slash is how some tools make an empty folder.

    Returns:
      The tree, and the stamp of each object by its address.

    Raises:
      ServerError: The server cannot be reached.
      BucketError: There is no such bucket, or it may not be listed.
    """
    top = Folder({}, [])
    hidden: set[str] = set()
    stamps: dict[str, Stamp] = {}
    for found in root.walk():
        *folders, name = found.path.relative_to(root).split("/")
        parts = [*folders, name] if name else folders
        first = next((i for i, p in enumerate(parts) if p.startswith(".")), None)
        if "" in parts or {".", ".."} & set(parts):
            top.special += 1  # a key that is no path
        elif first is not None:
            hidden.add("/".join(parts[: first + 1]))
        else:
            here = top
            for folder in folders:
                here = here.folders.setdefault(_normalize(folder), Folder({}, []))
            if name:
                here.files.append((_normalize(name), str(found.path)))
                stamps[str(found.path)] = stamp_object(found)
    top.hidden = len(hidden)
    return _sort(top), stamps


def stamp_object(found: Listed) -> Stamp:
    """Returns what of an object changes with its bytes."""
    digest = hashlib.sha256(found.etag.encode()).digest()
    etag = int.from_bytes(digest[:8], signed=True)
    # The ETag in place of the inode. An object has no ctime: the server sets its time.
    return Stamp(found.size, found.modified_ns, 0, etag)


def stamp_named(folder: ObjectPath, names: Iterable[str | None]) -> dict[str, Stamp]:
    """Returns the stamps of the objects that a table in a folder names, by address.

    One listing of what they have in common, where a question for each would take long.

    Args:
      folder: The table's folder.
      names: What the table names; what is no address is passed over.

    Raises:
      OSError: As `scan_objects`.
    """
    wanted: set[ObjectPath] = set()
    for name in names:
        try:
            wanted.add(resolve(folder, name or ""))
        except RequestError:
            continue
    stamps = {}
    for bucket in {path.bucket for path in wanted}:
        keys = [path.key for path in wanted if path.bucket == bucket]
        common = posixpath.commonpath([posixpath.dirname(key) for key in keys])
        for found in ObjectPath(bucket, common).walk():
            if found.path in wanted:
                stamps[str(found.path)] = stamp_object(found)
    return stamps


def resolve(folder: ObjectPath, name: str) -> ObjectPath:
    """Returns the address that a name in a folder's table stands for.

    Raises:
      RequestError: It is a local path, or leads out of the bucket.
    """
    if is_url(name):
        return parse_address(name)
    key = posixpath.normpath(posixpath.join(folder.key, name))
    if not name or name.startswith("/") or key.startswith(".."):
        raise RequestError(f"{name!r} leads out of the bucket")
    return ObjectPath(folder.bucket, key)


def copy_table(table: ObjectPath) -> tuple[Path, Stamp]:
    """Returns a local copy of a table as it is now, and the table's stamp.

    Raises:
      FileNotFoundError: There is no such object.
      OSError: It cannot be read, or changed meanwhile.
    """
    listed = table.look()
    return fetch_version(listed, suffix=table.suffix.lower()), stamp_object(listed)


def find_stamp(
    stamps: Mapping[str, Stamp], folder: ObjectPath, name: str
) -> Stamp | None:
    """Returns the stamp of what a name stands for, None where there is no object."""
    try:
        return stamps.get(str(resolve(folder, name)))
    except RequestError:
        return None


def _sort(folder: Folder) -> Folder:
    folder.folders = {name: _sort(f) for name, f in sorted(folder.folders.items())}
    folder.files.sort()
    return folder


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name)
