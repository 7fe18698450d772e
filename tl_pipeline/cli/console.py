"""What a person sees: results, notes, and progress with rate and time left."""

import json
import sys
import time
from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from tl_pipeline.digest import Json

# The option that every reporting command has.
AsJson = Annotated[
    bool, Parameter(name="--json", negative=(), help="print one JSON document")
]

# Of the commands that write a store, which one process may at a time.
Wait = Annotated[bool, Parameter(name="--wait", negative="--no-wait")]

_SECONDS_BETWEEN_LINES = 10.0


class Console:
    """Where a command's words go.

    With `--json`, stdout carries one JSON document and everything human goes to
    stderr; without it the results are for people and go to stdout.
    """

    def __init__(self, *, as_json: bool):
        """Takes whether the result is asked for as JSON."""
        self._as_json = as_json

    def say(self, *lines: str) -> None:
        """Prints lines for people."""
        stream = sys.stderr if self._as_json else sys.stdout
        for line in lines:
            print(line, file=stream, flush=True)

    def note(self, lines: Iterable[str]) -> None:
        """Prints remarks for people, on stderr in any case."""
        for line in lines:
            print(f"note: {line}", file=sys.stderr, flush=True)

    def result(self, value: Json) -> None:
        """Prints the JSON document, where it is asked for."""
        if self._as_json:
            print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)

    def progress(self) -> "Bar | Lines":
        """Returns a progress bar on a terminal, a line every so often elsewhere."""
        return Bar() if sys.stderr.isatty() else Lines()


class Lines:
    """Progress as a line every ten seconds."""

    def start(self, what: str, total: int) -> None:
        """Begins to count."""
        self._what, self._total, self._done = what, total, 0
        self._begin = self._last = time.monotonic()

    def advance(self, n: int) -> None:
        """Counts, and prints a line if the last one is ten seconds old."""
        self._done += n
        now = time.monotonic()
        is_early = now - self._last < _SECONDS_BETWEEN_LINES
        if is_early or self._done >= self._total:
            return
        self._last = now
        rate = self._done / (now - self._begin)
        line = f"{self._what}: {self._done:,} of {self._total:,}"
        if rate:
            line += f", {_describe_rate(rate)}"
            line += f", about {(self._total - self._done) / rate:,.0f} s left"
        print(line, file=sys.stderr, flush=True)

    def finish(self) -> None:
        """Ends; a short piece of work leaves no line at all."""


class Bar:
    """Progress as a bar that disappears when it ends."""

    def start(self, what: str, total: int) -> None:
        """Draws the bar."""
        from rich.console import Console as Terminal
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._begin, self._done = time.monotonic(), 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Terminal(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task(what, total=total, rate="")
        self._progress.start()

    def advance(self, n: int) -> None:
        """Moves the bar."""
        self._done += n
        rate = self._done / max(time.monotonic() - self._begin, 1e-9)
        self._progress.update(self._task, advance=n, rate=_describe_rate(rate))

    def finish(self) -> None:
        """Takes the bar away."""
        self._progress.stop()


def _describe_rate(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 1 else f"{60 * rate:,.1f} a minute"
