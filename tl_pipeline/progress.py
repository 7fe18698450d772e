"""How long work tells what it does, without knowing who listens."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Protocol


class Progress(Protocol):
    """What long work tells as it goes on."""

    def start(self, what: str, total: int) -> None:
        """Says that `total` steps of something begin; one thing at a time."""
        ...

    def advance(self, n: int) -> None:
        """Says that `n` more steps are done."""
        ...

    def finish(self) -> None:
        """Says that what began last has ended."""
        ...


class NoProgress:
    """Tells nobody."""

    def start(self, what: str, total: int) -> None:
        """Does nothing."""

    def advance(self, n: int) -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Does nothing."""


_listener: contextvars.ContextVar[Progress] = contextvars.ContextVar("listener")


@contextlib.contextmanager
def telling(progress: Progress) -> Iterator[None]:
    """Lets work inside tell `progress`, through whatever engine runs it."""
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)


def current_progress() -> Progress:
    """Returns who listens to the work that runs now."""
    return _listener.get(NoProgress())
