"""Remembered content digests: a file whose stamp is unchanged is not read again.

The stamp is size, mtime, ctime and inode. A change that keeps size and mtime, as
`cp -p` or `os.utime` do, still moves the ctime, which no program can set. The cache may
vanish or be damaged at any time: then digests are computed again, and nothing fails.
"""

import logging
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

# A file may change twice within one tick of its file system's clock, the second time
# unseen by the stamp. FAT has the coarsest clock in use, 2 s.
SETTLED_NS = 2_000_000_000
SCHEMA_VERSION = 1
BUSY_SECONDS = 10.0
# SQLite's primary result codes that mean that the file itself is no use: ERROR (no such
# table or column), CORRUPT, MISMATCH, FORMAT, NOTADB. https://www.sqlite.org/rescode.html
DAMAGED = {1, 11, 20, 24, 26}

_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
  path BLOB NOT NULL,
  member TEXT NOT NULL,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  digest BLOB NOT NULL,
  checksum INTEGER NOT NULL,
  PRIMARY KEY (path, member)
) WITHOUT ROWID
"""
# A dataset's files lie in one folder, so a range of paths holds little else.
_FIND = """
SELECT path, member, size, mtime_ns, ctime_ns, inode, digest, checksum
FROM entries WHERE path BETWEEN ? AND ?
"""

_log = logging.getLogger(__name__)


class Stamp(NamedTuple):
    """What of a file's metadata changes with its bytes."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Key(NamedTuple):
    """What a digest is remembered by."""

    path: bytes  # absolute, in the file system's encoding
    member: str
    stamp: Stamp


class Digested(NamedTuple):
    """A digest, and when its bytes were about to be read."""

    key: Key
    digest: bytes  # 32 bytes
    read_ns: int  # `time.time_ns()` before reading


def stamp_file(path: str | Path) -> Stamp:
    """Returns a file's stamp.

    Raises:
      OSError: There is no such file.
    """
    found = os.stat(path)
    # SQLite's integers are signed; some file systems number inodes up to 2**64.
    inode = found.st_ino - 2**64 if found.st_ino >= 2**63 else found.st_ino
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, inode)


class StatCache:
    """Digests by path, member and stamp, in one SQLite file that processes share.

    Example:
      >>> with StatCache(Path("no/such/folder/cache.sqlite")) as cache:
      ...     cache.find([Key(b"/a.jpg", "", Stamp(1, 2, 3, 4))])
      [None]
    """

    def __init__(self, path: Path):
        """Takes the path of the SQLite file, which is made when it is first needed."""
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._usable = True

    def __enter__(self) -> "StatCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def find(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Returns the digest of each key, None where it is not known."""
        if not keys or not self._path.exists():
            return [None] * len(keys)
        found: list[bytes | None] = [None] * len(keys)
        rows = {(key.path, key.member): row for row, key in enumerate(keys)}
        paths = [key.path for key in keys]
        bounds = (min(paths), max(paths))

        def work(connection: sqlite3.Connection) -> None:
            for path, member, *stamp, digest, checksum in connection.execute(
                _FIND, bounds
            ):
                row = rows.get((path, member))
                if row is None or tuple(stamp) != keys[row].stamp:
                    continue
                # A flipped bit may also have changed the type of a value.
                is_bytes = isinstance(digest, bytes)
                if is_bytes and checksum == _checksum(keys[row], digest):
                    found[row] = digest

        self._attempt(work)
        return found

    def remember(self, entries: Sequence[Digested]) -> None:
        """Keeps digests, but not of files that were younger than 2 s when read."""
        settled = [
            (
                *(key.path, key.member, *key.stamp, digest),
                _checksum(key, digest),
            )
            for key, digest, read_ns in entries
            if _is_settled(key.stamp, read_ns)
        ]
        if not settled:
            return

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                settled,
            )

        self._attempt(lambda connection: _in_transaction(connection, work))

    def _attempt(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Works on the cache; mends it once; else goes on without it."""
        for is_last in (False, True):
            if not self._usable:
                return
            try:
                return work(self._connect())
            except (sqlite3.Error, OSError) as error:
                self.close()
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in DAMAGED and not is_last and self._replace(error):
                    continue
                self._usable = False
                _log.warning(
                    "Going on without the cache of digests %s: %s", self._path, error
                )

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None
            )
            self._connection = connection
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                _in_transaction(connection, _make_schema)
            elif version != SCHEMA_VERSION:
                error = sqlite3.DatabaseError(f"its format is version {version}")
                error.sqlite_errorcode = sqlite3.SQLITE_FORMAT
                raise error
        return self._connection

    def _replace(self, error: Exception) -> bool:
        _log.warning("Replacing the damaged cache of digests %s: %s", self._path, error)
        try:
            for suffix in ("", "-journal", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        except OSError:
            return False
        return True


def _make_schema(connection: sqlite3.Connection) -> None:
    connection.execute(_TABLE)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _in_transaction(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], None]
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _is_settled(stamp: Stamp, read_ns: int) -> bool:
    # An mtime in the future says nothing of the file's age; the ctime does.
    recently_modified = 0 <= read_ns - stamp.mtime_ns < SETTLED_NS
    return read_ns - stamp.ctime_ns >= SETTLED_NS and not recently_modified


def _checksum(key: Key, digest: bytes) -> int:
    # SQLite does not notice a flipped bit in a row; a wrong digest would stay for good.
    row = struct.pack("<qqqq", *key.stamp) + digest + key.path + key.member.encode()
    return zlib.crc32(row)
