"""One writer at a time where there is no flock: a lease, an object that is renewed.

Who holds the lease renews it every few seconds. Who finds that it was not renewed for a
minute, by its own clock, takes it over: its holder was killed, or hangs. A holder that
was killed on this very machine is known to be gone at once.

A holder that only slept finds its lease taken before it commits, and stops. The lease
alone keeps writers from doing work twice; that none loses another's commit is the
manifest's affair, which is replaced only where it still is the one that was read.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tl_pipeline.digest import canonical_json
from tl_pipeline.errors import StoreConflictError, StoreError, StoreLockedError
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.store.holder import describe_self, name_holder

RENEW_SECONDS = 10.0
LEASE_SECONDS = 60.0
_POLL_SECONDS = 1.0
_FREE = b"{}\n"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Lease:
    """A lease that this process took.

    Attributes:
      file: The object.
      data: What this process last put there; None once it is lost or given back.
    """

    file: ObjectPath
    data: bytes | None
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def renew(self) -> None:
        """Puts it anew.

        Raises:
          StoreConflictError: Another process took it over.
          OSError: The server cannot be reached; it may still be ours.
        """
        with self.lock:
            try:
                if self.data is not None:
                    note = json.loads(self.data)
                    # The same bytes when tried again: the answer may have got lost.
                    note = _encode({**note, "beat": note["beat"] + 1})
                    self.file.swap_bytes(self.data, note)
                    self.data = note
                    return
            except (FileNotFoundError, StoreConflictError):
                self.data = None
        raise StoreConflictError(
            f"{self.file.parent} is no longer this process's to write: it did not "
            f"renew its lease for {LEASE_SECONDS:.0f} s, and another one took over. "
            "All that was committed stands: run the same command again, it continues "
            "from there."
        )

    def give_back(self) -> None:
        """Lets the next one take it at once."""
        with self.lock, contextlib.suppress(OSError):
            if self.data is not None:
                self.file.swap_bytes(self.data, _FREE)
            self.data = None


_held: dict[ObjectPath, Lease] = {}


@contextlib.contextmanager
def hold_lease(
    path: ObjectPath,
    name: str,
    *,
    wait: bool,
    on_wait: Callable[[str], None],
    doing: str,
) -> Iterator[None]:
    """Holds the lease of what lies below an address.

    Args:
      path: The address.
      name: The lease's name there.
      wait: Whether to wait for another holder, or to raise.
      on_wait: Called with a sentence that says who holds it, once a holder.
      doing: What the holder does, the sentence's beginning.

    Raises:
      StoreLockedError: Another process holds it, and `wait` is False.
      StoreError: The server knows no conditional puts, or cannot be reached.
    """
    lease = _take(path / name, wait=wait, on_wait=on_wait, doing=doing)
    _held[path] = lease
    done = threading.Event()

    def keep() -> None:
        while not done.wait(RENEW_SECONDS):
            try:
                lease.renew()
            except StoreConflictError:
                return  # whoever commits next says so
            except OSError as error:
                _logger.warning("The lease of %s could not be renewed: %s", path, error)

    keeper = threading.Thread(target=keep, name=f"lease of {path}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        del _held[path]
        lease.give_back()


def check_lease(path: ObjectPath) -> None:
    """Renews this process's lease of an address, where it has one.

    Without a clock, so that nobody is fooled who slept: before a commit.

    Raises:
      StoreConflictError: Another process took it over.
      OSError: The server cannot be reached.
    """
    if path in _held:
        _held[path].renew()


def _take(
    file: ObjectPath, *, wait: bool, on_wait: Callable[[str], None], doing: str
) -> Lease:
    said = None
    seen: tuple[bytes | None, float] = None, 0.0  # what it held, and since when
    while True:
        try:
            found = file.read_version()
        except FileNotFoundError:
            found = None
        begin = time.monotonic()
        if found != seen[0]:
            seen = found, begin
        if _is_free(found) or begin - seen[1] > LEASE_SECONDS:
            note = _encode({**describe_self(), "beat": 0, "machine": _machine()})
            try:
                file.swap_bytes(found, note)
            except (FileNotFoundError, StoreConflictError):
                continue  # another one was first: look who it is
            _check_server(file)
            return Lease(file, note)
        sentence = f"{doing} by {name_holder(found or b'')}; one can at a time."
        if not wait:
            raise StoreLockedError(sentence)
        if sentence != said:
            on_wait(sentence)
            said = sentence
        time.sleep(_POLL_SECONDS)


def _check_server(file: ObjectPath) -> None:
    """Raises where a server takes a conditional put for a plain one."""
    if file.bucket in _conditional:
        return
    if file.refuses_conditions():
        raise StoreError(
            f"{file.parent} cannot be written safely: its server ignores conditional "
            "puts (If-Match, If-None-Match), without which two writers could lose "
            "each other's rows. Use a server that knows them, or a local store root."
        )
    _conditional.add(file.bucket)


_conditional: set[str] = set()


def _encode(note: dict[str, str | int]) -> bytes:
    return (canonical_json(note) + "\n").encode()


def _is_free(found: bytes | None) -> bool:
    """Tells whether nobody holds a lease, or one who is surely gone."""
    try:
        note = json.loads(found or b"{}")
        if "pid" not in note:
            return True
        return note["machine"] == _machine() and not _is_alive(int(note["pid"]))
    except (KeyError, RecursionError, TypeError, ValueError):
        return False  # until its minute is over


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@functools.lru_cache(maxsize=1)
def _machine() -> str:
    """Returns what tells processes apart that could see each other from all others."""
    # Two containers may share a host's name and boot, and not each other's processes.
    said = []
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: os.readlink("/proc/self/ns/pid"),
    ):
        with contextlib.suppress(OSError):
            said.append(read())
    return " ".join(said) if len(said) == 2 else f"unknown {os.urandom(8).hex()}"
