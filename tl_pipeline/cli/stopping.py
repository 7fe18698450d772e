"""Ctrl-C and SIGTERM: the command ends within seconds, and what is committed stays."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType

# A signal interrupts Python, not what it called: a network that is being compiled, or
# a batch on the device, may take a minute. No file is ever half written, so nothing is
# lost when the process ends in the midst of that.
GRACE_SECONDS = 2.5
SIGNALS = (signal.SIGINT, signal.SIGTERM)


_told: list[bool] = []
_received: list[int] = []  # libraries raise a `KeyboardInterrupt` of their own


def stop_on_signals() -> None:
    """Has signals interrupt the work, and end the process where that takes too long."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Python's own handlers wait for the interpreter; this is told at once.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        # Ignored where a script started the command in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    # The writer is kept, for what the interpreter holds is its number alone.
    threading.Thread(target=_watch, args=(reader, writer), daemon=True).start()


def tell_stopped() -> int:
    """Says that the command was interrupted; returns its exit code, 128 + signal."""
    _told.append(True)
    print("stopped; what is committed stays", file=sys.stderr, flush=True)
    return 128 + (_received or [signal.SIGINT])[0]


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    _received.append(number)
    # A loop ends with tasks of its own in the midst of something, which is no error.
    logging.getLogger("asyncio").disabled = True
    raise KeyboardInterrupt


def _watch(reader: socket.socket, writer: socket.socket) -> None:
    del writer
    while (number := reader.recv(1)[0]) not in SIGNALS:
        pass
    time.sleep(GRACE_SECONDS)
    _end_children()
    if not _told:
        tell_stopped()
    os._exit(128 + number)


def _end_children() -> None:
    """Ends the server that Prefect may have started for this process alone."""
    module = sys.modules.get("prefect.server.api.server")
    for server in list(
        module.SubprocessASGIServer._instances.values() if module else ()
    ):
        process = server.server_process  # another thread may be letting go of it
        if process is not None:
            process.kill()
