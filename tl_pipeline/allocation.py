"""Memory that was freed is kept for the next arrays, not handed back and asked anew."""

import ctypes
import os
import sys

# What has the same effect from the first moment of a process, by its environment.
_VARIABLES = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
}
# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for what is allocated next.

    The arrays of a batch are hundreds of megabytes, for which glibc asks the system at
    each step anew; the system then maps and clears page after page, which can take
    several times as long as what is computed in them: a depthwise convolution of 32
    images of 112×112×96 took 274 ms so, and 35 ms in memory that was kept. What a
    process once needed stays with it until it ends.

    Call it before there are threads. What the environment says of malloc wins; with
    another C library nothing is done.
    """
    if _is_said() or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # All from one heap that only grows: arenas of threads would map what is large.
    for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1)):
        mallopt(option, value)


def keep_variables() -> dict[str, str]:
    """Returns the variables by which a process to be started keeps freed memory.

    For one that has threads before it can call `keep_freed_memory`; none where the
    environment says something of malloc.
    """
    return {} if _is_said() else dict(_VARIABLES)


def _is_said() -> bool:
    said = [name for name in os.environ if name.startswith("MALLOC_")]
    return bool(said) or "malloc" in os.environ.get("GLIBC_TUNABLES", "")
