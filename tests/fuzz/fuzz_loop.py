"""Gives a reader seeded mutants of its files, and reports whatever goes wrong.

Run by `test_fuzz.py` as a process of its own. The reader works in a forked worker
whose memory is limited and which says which mutant it begins: a worker that dies or
hangs is thereby a fault of that mutant, and another one goes on behind it. Prints a
JSON report. `--first K --count 1` repeats one mutant, `--keep FOLDER` keeps the faulty.
"""

import argparse
import collections
import contextlib
import importlib
import json
import os
import random
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from verdicts import Wrong

SECONDS = 10  # what one mutant may take
MEMORY = 2 * 2**30  # bytes that a worker may map beyond what it has at its start
FAULTS = 20  # after so many the rest would say the same


class Subject(Protocol):
    """A reader under test."""

    def make(self, rng: random.Random) -> bytes:
        """Returns one mutant."""
        ...

    def check(self, data: bytes) -> str:
        """Reads a mutant; returns `"accepted"` or `"refused"`, or raises."""
        ...


def make_mutant(subject: Subject, kind: str, seed: int, k: int) -> bytes:
    return subject.make(random.Random(f"{kind} {seed} {k}"))


def limit_memory(n_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def ran_out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def judge(subject: Subject, data: bytes) -> str:
    """Returns `"accepted"`, `"refused"`, or what is wrong."""
    try:
        return subject.check(data)
    except Wrong as error:
        return f"silently wrong: {error}"
    except BaseException as error:
        if ran_out_of_memory(error):
            return "memory: " + traceback.format_exc(limit=-3)
        return "traceback: " + traceback.format_exc(limit=-6)


def work(
    subject: Subject, kind: str, seed: int, first: int, stop: int, writer: int
) -> None:
    """Judges mutants in turn, with a line at the beginning and one at the end."""
    limit_memory(MEMORY)
    # As the command line does: what Pillow warns of is listed as a failure there.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    with os.fdopen(writer, "w", buffering=1) as lines:
        for k in range(first, stop):
            data = make_mutant(subject, kind, seed, k)
            lines.write(json.dumps([k]) + "\n")
            lines.write(json.dumps([k, judge(subject, data)]) + "\n")


def start(
    subject: Subject, kind: str, seed: int, first: int, stop: int
) -> tuple[int, int]:
    """Forks a worker; returns its process and the pipe that it speaks through."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    try:
        os.close(reader)
        # Libraries in C complain there; what matters comes as an exception.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        work(subject, kind, seed, first, stop, writer)
    except BaseException:
        os._exit(1)
    os._exit(0)


def read_lines(reader: int) -> Iterator[list | None]:
    """Yields what a worker says; None when it says nothing for too long."""
    rest = b""
    while True:
        if not select.select([reader], [], [], SECONDS)[0]:
            yield None
            return
        piece = os.read(reader, 2**16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from map(json.loads, lines)


def run(
    subject: Subject, kind: str, seed: int, first: int, count: int
) -> tuple[collections.Counter[str], list[tuple[int, str]], float]:
    """Returns the verdicts counted, the faults by mutant, and the longest time."""
    counts: collections.Counter[str] = collections.Counter()
    faults: list[tuple[int, str]] = []
    longest = 0.0
    k, stop = first, first + count
    while k < stop and len(faults) < FAULTS:
        pid, reader = start(subject, kind, seed, k, stop)
        begun = time.monotonic()
        hung = False
        for line in read_lines(reader):
            if line is None:
                hung = True
                break
            k = line[0]
            if len(line) == 1:
                begun = time.monotonic()
                continue
            longest = max(longest, time.monotonic() - begun)
            counts[line[1].partition(":")[0]] += 1
            if line[1] not in ("accepted", "refused"):
                faults.append((k, line[1]))
            k += 1
            if len(faults) >= FAULTS:
                break
        with contextlib.suppress(ProcessLookupError):
            if hung or len(faults) >= FAULTS:
                os.kill(pid, signal.SIGKILL)
        os.close(reader)
        _, status = os.waitpid(pid, 0)
        if hung:
            faults.append((k, f"took longer than {SECONDS} s"))
            counts["timeout"] += 1
            k += 1
        elif k < stop and len(faults) < FAULTS:
            faults.append((k, f"the worker ended with wait status {status}"))
            counts["signal"] += 1
            k += 1
    return counts, faults, longest


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("kind")
    options.add_argument("folder", type=Path)
    options.add_argument("--count", type=int, required=True)
    options.add_argument("--first", type=int, default=0)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path)
    given = options.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    subject = importlib.import_module(f"{given.kind}_subject").open_subject(
        given.folder
    )
    counts, faults, longest = run(
        subject, given.kind, given.seed, given.first, given.count
    )
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        for k, _ in faults:
            data = make_mutant(subject, given.kind, given.seed, k)
            (given.keep / f"{given.kind}-{given.seed}-{k}").write_bytes(data)
    report = {
        "counts": counts,
        "faults": faults,
        "longest": longest,
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
