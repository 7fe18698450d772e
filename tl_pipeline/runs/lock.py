"""A lock that is free the moment its holder dies, whatever killed it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tl_pipeline.errors import FailedError


@contextlib.contextmanager
def hold_lock(file: Path, *, of: Path, needs: str) -> Iterator[None]:
    """Waits for a lock, and holds it.

    Args:
      file: The lock, in a folder that is there.
      of: What the message says that it locks.
      needs: What takes the lock, a word for the message.

    Raises:
      FailedError: The folder cannot be locked.
    """
    import filelock

    # A lock made of a file's existence would outlive a killed holder: no fallback.
    lock = filelock.FileLock(file, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except OSError as error:
        raise FailedError(
            f"{of} cannot be locked ({error.strerror or error}). {needs} needs a "
            "folder that this user may write, on a file system with flock."
        ) from error
    try:
        yield
    finally:
        lock.release()
