"""Every state that a disk may hold after power was lost.

The calls of a writer are recorded, and then every state is laid out that a file system
may hold after them: names that no sync of their folder followed are there or not, each
for itself; bytes that no sync of their file followed are there, torn, zero or absent.
"""

import dataclasses
import io
import itertools
import os
import pathlib
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tl_pipeline.store import schema
from tl_pipeline.store.store import FeatureStore
from tl_pipeline.store.verify import verify_store

FOLDER = -1  # stands for a file's number in the entries of a folder


def is_ignored(name: str) -> bool:
    """Whether a file is a lock, or a cache that may be lost."""
    return name == schema.LOCK or name.startswith(".stat-cache")


class Killed(BaseException):
    """Ends a writer like a SIGKILL: no handler of it can touch a file any more."""


@dataclasses.dataclass
class Recorder:
    """Notes every call that changes files under a root, and may kill at one.

    Calls are (name, path, argument); `returned` stands for a commit that returned.
    """

    root: Path
    calls: list[tuple] = dataclasses.field(default_factory=list)
    fatal: int | None = None

    def note(self, name: str, path: Path | str, argument: object = None) -> None:
        path = Path(os.path.abspath(path))
        if not path.is_relative_to(self.root) or is_ignored(path.name):
            return
        if self.fatal is not None and len(self.calls) >= self.fatal:
            raise Killed
        self.calls.append((name, str(path), argument))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        recorder = self

        class File(io.FileIO):
            def write(self, data):
                recorder.note("write", str(self.name), bytes(data))
                return super().write(data)

        opens = pathlib.Path.open

        def open_(path, mode="r", *args, **kwargs):
            if mode != "wb":
                return opens(path, mode, *args, **kwargs)
            recorder.note("create", path)
            return File(str(path), "w")

        def fsync_(descriptor):
            # Noted only, not done: the order counts, and the test is to be quick.
            where = os.readlink(f"/proc/self/fd/{descriptor}")
            recorder.note("sync folder" if os.path.isdir(where) else "sync", where)

        patch.setattr(pathlib.Path, "open", open_)
        patch.setattr(os, "fsync", fsync_)
        for name in ("mkdir", "unlink", "replace"):
            patch.setattr(os, name, self._around(name, getattr(os, name)))
        become = FeatureStore._become

        def become_(store, manifest):
            become(store, manifest)
            recorder.note("returned", store.path / "store.json", manifest.to_bytes())

        patch.setattr(FeatureStore, "_become", become_)

    def _around(self, name: str, call: Callable) -> Callable:
        def around(path, *args, **kwargs):
            made = os.path.lexists(path)
            if name == "mkdir":
                made = not made and os.path.isdir(os.path.dirname(path))
            if not made:
                return call(path, *args, **kwargs)  # raises, and changes nothing
            other = os.path.abspath(args[0]) if name == "replace" else None
            self.note(name, path, other)
            return call(path, *args, **kwargs)

        return around


@dataclasses.dataclass
class Disk:
    """What is durable, and what is only on its way."""

    root: str
    entries: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    pending: dict[str, list[tuple]] = dataclasses.field(default_factory=dict)
    synced: list[bytes] = dataclasses.field(default_factory=list)
    written: list[bytes] = dataclasses.field(default_factory=list)
    returned: bytes | None = None

    @classmethod
    def of(cls, root: Path) -> "Disk":
        """Takes all that lies under a root for durable."""
        disk = cls(str(root), {str(root): {}})
        for path in sorted(root.rglob("*")):
            number = FOLDER
            if path.is_dir():
                disk.entries[str(path)] = {}
            elif is_ignored(path.name):
                continue
            else:
                number = disk._add(path.read_bytes())
            disk.entries[str(path.parent)][path.name] = number
        return disk

    def _add(self, data: bytes) -> int:
        self.synced.append(data)
        self.written.append(data)
        return len(self.synced) - 1

    def _find(self, path: str) -> int:
        folder, name = os.path.split(path)
        return self._latest(folder)[name]

    def _latest(self, folder: str) -> dict[str, int]:
        return apply(self.entries[folder], self.pending.get(folder, []))

    def do(self, call: tuple) -> None:
        name, path, argument = call
        folder, base = os.path.split(path)
        changes = self.pending.setdefault(folder, [])
        if name == "mkdir":
            self.entries[path] = {}
            changes.append((None, base, FOLDER))
        elif name == "create":
            changes.append((None, base, self._add(b"")))
        elif name == "write":
            self.written[self._find(path)] += argument
        elif name == "sync":
            number = self._find(path)
            self.synced[number] = self.written[number]
        elif name == "sync folder":
            self.entries[path] = self._latest(path)
            self.pending[path] = []
        elif name == "replace":
            new = os.path.basename(argument)
            changes.append((base, new, self._find(path)))
        elif name == "unlink":
            changes.append((base, None, None))
        else:
            self.returned = argument

    def states(self) -> Iterator[dict[str, bytes | None]]:
        """Yields what may be found after a crash: bytes by path, None for folders."""
        folders = sorted(name for name, changes in self.pending.items() if changes)
        choices = [list(subsets(self.pending[name])) for name in folders]
        for chosen in itertools.product(*choices):
            entries = dict(self.entries)
            for folder, changes in zip(folders, chosen, strict=True):
                entries[folder] = apply(entries[folder], changes)
            tree = dict(self._walk(entries, self.root))
            torn = sorted(
                path
                for path, number in tree.items()
                if number != FOLDER and self.synced[number] != self.written[number]
            )
            for variant in itertools.product(range(4), repeat=len(torn)):
                how = dict(zip(torn, variant, strict=True))
                yield {
                    path: None if number == FOLDER else self._bytes(number, how, path)
                    for path, number in tree.items()
                }

    def _bytes(self, number: int, how: dict[str, int], path: str) -> bytes:
        data, old = self.written[number], self.synced[number]
        variants = (data, old, data[: len(data) // 2], bytes(len(data)))
        return variants[how.get(path, 0)]

    def _walk(self, entries: dict, folder: str) -> Iterator[tuple[str, int]]:
        for name, number in entries[folder].items():
            path = os.path.join(folder, name)
            yield os.path.relpath(path, self.root), number
            if number == FOLDER:
                yield from self._walk(entries, path)


def apply(entries: dict[str, int], changes: list[tuple]) -> dict[str, int]:
    """Returns a folder's entries after some changes of it."""
    entries = dict(entries)
    for old, new, number in changes:
        if old is not None:
            entries.pop(old, None)
        if new is not None:
            entries[new] = number
    return entries


def subsets(changes: list[tuple]) -> Iterator[list[tuple]]:
    """Yields which changes may have reached the disk, all of them first."""
    if len(changes) > 5:  # a folder that is not synced: 2^n is more than is needed
        for n in range(len(changes), -1, -1):
            yield changes[:n]
            yield changes[n:]
        return
    for kept in itertools.product((True, False), repeat=len(changes)):
        yield list(itertools.compress(changes, kept))


def list_states(disk: Disk, calls: list[tuple]) -> list[tuple[dict, bytes | None]]:
    """Lists distinct states after each prefix, with the manifest that must be there."""
    found = {}
    for call in [None, *calls]:
        if call:
            disk.do(call)
        for state in disk.states():
            key = frozenset(state.items()), disk.returned
            found.setdefault(key, (state, disk.returned))
    return list(found.values())


def read_tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if not is_ignored(path.name)
    }


def lay_out(root: Path, state: dict[str, bytes | None]) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name in sorted(state):
        data = state[name]
        if data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(data)


@dataclasses.dataclass
class Writer:
    """A writer whose calls are replayed.

    `write` takes the root of the disk, and must end with the files `wanted`; `store`
    is where its store lies; `check` raises unless the rows of a store are right.
    """

    write: Callable[[Path], None]
    store: str
    wanted: dict[str, bytes]
    check: Callable[[Path], None]
    keep: Callable[[Path], dict[str, bytes]]

    def record(self, root: Path, *, kill: int | None = None) -> list[tuple]:
        """Runs it, twice if it is killed at a call, and returns all calls."""
        recorder = Recorder(root)
        with pytest.MonkeyPatch.context() as patch:
            recorder.install(patch)
            if kill is not None:
                recorder.fatal = kill
                with pytest.raises(Killed):
                    self.write(root)
                recorder.fatal = None
            self.write(root)
        return recorder.calls

    def replay(self, root: Path, calls: list[tuple], states: list[tuple]) -> None:
        """Checks states: each opens, verifies, and is finished byte-equal."""
        before = (root / self.store / "store.json") if root.exists() else None
        old = [before.read_bytes()] if before and before.exists() else []
        manifests = old + [
            data
            for name, path, data in calls
            if name == "write" and os.path.basename(path).startswith(".tmp-store.json")
        ]
        for state, returned in states:
            lay_out(root, state)
            path = root / self.store
            found = state.get(f"{self.store}/store.json")
            if found is None:
                assert returned is None, "a commit that returned is lost"
            else:
                assert found in manifests, "the manifest is torn"
                least = 0 if returned is None else manifests.index(returned)
                assert manifests.index(found) >= least, "a commit that returned is lost"
                report = verify_store(path)
                assert report["intact"], report["problems"]
                self.check(path)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(os, "fsync", lambda descriptor: None)
                self.write(root)
            assert self.keep(path) == self.wanted


def sample(states: list, n: int | None) -> list:
    return (
        states if n is None or n >= len(states) else random.Random(0).sample(states, n)
    )


def check_replay(
    writer: Writer,
    root: Path,
    n: int | None,
    *,
    base: Path | None = None,
    kill: float | None = None,
) -> int:
    """Replays a writer that starts at a copy of `base`; returns how many states.

    Args:
      writer: The writer.
      root: The disk, made here.
      n: States to check, drawn by seed; None for all.
      base: What the disk holds at first; nothing by default.
      kill: The fraction of its calls after which it is killed, and run again.
    """
    start = read_tree(base) if base else {}
    lay_out(root, start)
    calls = writer.record(root)
    if kill is not None:
        lay_out(root, start)
        calls = writer.record(root, kill=int(kill * len(calls)))
    left = read_tree(root)
    lay_out(root, start)
    disk = Disk.of(root)
    states = list_states(disk, calls)
    # All of it together is what the writer left: no call escaped the record.
    assert next(disk.states()) == left
    writer.replay(root, calls, sample(states, n))
    return len(states)
