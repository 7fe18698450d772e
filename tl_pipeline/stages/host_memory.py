"""How much memory of this machine can be had."""

import os
from pathlib import Path


def find_host_free(
    meminfo: Path = Path("/proc/meminfo"),
    limit: Path = Path("/sys/fs/cgroup/memory.max"),
) -> int | None:
    """Returns the bytes of memory that can be had, or None if nobody says.

    Linux says what is available; elsewhere it is all memory of the machine. A
    container's limit counts where it is lower.

    Args:
      meminfo: Where Linux says it.
      limit: Where a container's limit stands, or the word `max`.
    """
    found = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        try:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (OSError, ValueError):
            return None
    try:
        found.append(int(limit.read_text()))
    except (OSError, ValueError):
        pass  # no container, or one without a limit
    return min(found)
