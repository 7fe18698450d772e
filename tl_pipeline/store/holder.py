"""Who writes a store: a note for whoever waits, so that it can say for whom."""

import json
import os
import shlex
import socket
import sys
import time
from pathlib import Path


def describe_self() -> dict[str, str | int]:
    """Returns the note of this process."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200],
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def name_holder(note: bytes) -> str:
    """Says who left a note; a stranger's may hold anything."""
    try:
        holder = json.loads(note)
        return (
            f"process {holder['pid']} on {holder['host']} (`{holder['command']}`, "
            f"since {holder['since']})"
        )
    except (KeyError, RecursionError, TypeError, ValueError):
        return "another process"  # it has the lock and not yet written its note
