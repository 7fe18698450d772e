"""One writer at a time: an flock that is free the moment its holder dies.

Reading takes no lock. Beside the lock lies a note on who holds it, so that whoever
waits can say for whom; a note whose writer was killed is simply overwritten.
In a bucket, where there is no flock, a lease takes the lock's place.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from tl_pipeline.errors import NotFoundError, StoreError, StoreLockedError
from tl_pipeline.files import write_json
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place
from tl_pipeline.store.holder import describe_self, name_holder
from tl_pipeline.store.lease import hold_lease
from tl_pipeline.store.schema import HOLDER, LOCK

PLATFORMS = ("linux", "darwin")
_POLL_SECONDS = 0.1
_ASK_SECONDS = 2.0  # how often a waiting process looks whether the holder changed

_logger = logging.getLogger(__name__)


def check_platform() -> None:
    """Raises `StoreError` where a store's guarantees do not hold."""
    if sys.platform not in PLATFORMS:
        raise StoreError(
            f"Feature stores need flock and atomic renames, and this is "
            f"{sys.platform}: run on Linux or macOS."
        )


@contextlib.contextmanager
def hold_lock(
    path: Place,
    *,
    wait: bool = True,
    on_wait: Callable[[str], None] | None = None,
    doing: str | None = None,
) -> Iterator[None]:
    """Holds the lock of the store in a folder, or of what else is kept there.

    Args:
      path: The folder.
      wait: Whether to wait for another holder, or to raise.
      on_wait: Called with a sentence that says who holds it, once a holder; by
        default the sentence is logged as a warning.
      doing: What the holder does, the sentence's beginning; by default it writes the
        store.

    Raises:
      NotFoundError: There is no such folder.
      StoreLockedError: Another process holds it, and `wait` is False.
      StoreError: The folder cannot be written, or its file system has no locks.
    """
    check_platform()
    doing = doing or f"Feature store {path} is being written"
    if isinstance(path, ObjectPath):
        asked = {"wait": wait, "on_wait": on_wait or _logger.warning, "doing": doing}
        with hold_lease(path, LOCK, **asked):
            yield
        return
    if not path.is_dir():  # filelock would make it
        raise NotFoundError(f"Asked to write the feature store {path}: no such folder.")
    # A lock made of a file's existence would outlive a killed holder: no fallback.
    lock = filelock.FileLock(path / LOCK, thread_local=False, fallback_to_soft=False)
    try:
        _acquire(lock, path, doing, wait, on_wait or _logger.warning)
    except filelock.Timeout:
        raise StoreLockedError(_describe_holder(path, doing)) from None
    except OSError as error:
        raise StoreError(
            f"Feature store {path} cannot be locked ({error.strerror or error}). "
            "Writing needs a folder that this user may write, on a file system with "
            "flock."
        ) from error
    try:
        with contextlib.suppress(OSError):  # a full disk must not keep us out
            write_json(path / HOLDER, describe_self())
        yield
    finally:
        with contextlib.suppress(OSError):
            (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def _acquire(
    lock: filelock.BaseFileLock,
    path: Path,
    doing: str,
    wait: bool,
    on_wait: Callable[[str], None],
) -> None:
    said = None
    timeout = 0.0
    while True:
        try:
            lock.acquire(timeout=timeout, poll_interval=_POLL_SECONDS)
            return
        except filelock.Timeout:
            if not wait:
                raise
        sentence = _describe_holder(path, doing)
        if sentence != said:
            on_wait(sentence)
            said = sentence
        timeout = _ASK_SECONDS


def _describe_holder(path: Path, doing: str) -> str:
    try:
        note = (path / HOLDER).read_bytes()
    except OSError:
        note = b""
    return f"{doing} by {name_holder(note)}; one can at a time."
