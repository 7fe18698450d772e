"""The head in use: one small file per dataset that says which run it is.

    <root>/<dataset>.current.json   the run in use, since when, and those before it
    <root>/<dataset>.gate.jsonl     every look at a test split; see `ledger`
    <root>/.<dataset>.gate.lock     held while the two change

A switch replaces the file by one rename: whoever reads it finds the old run or the new
one. It can be given wherever a run can.
"""

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tl_pipeline.digest import bytes_digest, short_digest
from tl_pipeline.errors import NotFoundError, RunDamagedError
from tl_pipeline.files import make_folder, write_json
from tl_pipeline.runs.lock import hold_lock

SUFFIX = ".current.json"
_LEDGER_SUFFIX = ".gate.jsonl"
_LOCK_SUFFIX = ".gate.lock"
_LONGEST_STEM = 60  # characters; with the identity, below 255 bytes in any script


@dataclasses.dataclass(frozen=True)
class InUse:
    """A run that is, or was, the one in use.

    Attributes:
      run: Its folder's name, beside the file.
      identity: Its identity.
      since: From when: ISO 8601, UTC.
    """

    run: str
    identity: str
    since: str


@dataclasses.dataclass(frozen=True)
class Current:
    """Which run of a dataset is in use.

    Attributes:
      path: The file that says so.
      dataset: The dataset's name.
      now: The run in use.
      before: The runs that it followed, the latest last.
    """

    path: Path
    dataset: str
    now: InUse
    before: tuple[InUse, ...]

    @property
    def folder(self) -> Path:
        """The folder of the run in use."""
        return self.path.parent / self.now.run

    @property
    def previous(self) -> Path | None:
        """The folder of the run to which `roll_back` returns."""
        return self.path.parent / self.before[-1].run if self.before else None


def safe_stem(name: str) -> str:
    """Returns a name as the first part of a file's: nothing that a path would obey.

    Example:
      >>> safe_stem("../a b"), safe_stem(".")
      ('_a_b', '_')
    """
    stem = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return stem.lstrip(".")[:_LONGEST_STEM] or "_"


def current_file(root: Path, dataset: str) -> Path:
    """Returns where it stands which run of a dataset is in use."""
    stem = safe_stem(dataset)
    if stem != dataset:  # two names may be one when made safe
        stem += f"-{short_digest(bytes_digest(dataset.encode()))}"
    return root / f"{stem}{SUFFIX}"


def ledger_file(current: Path) -> Path:
    """Returns where the looks at its test splits are kept."""
    return current.with_name(current.name.removesuffix(SUFFIX) + _LEDGER_SUFFIX)


def is_current_file(path: Path) -> bool:
    """Tells whether a path names a file that says which run is in use."""
    return path.name.endswith(SUFFIX)


def read_current(path: Path) -> Current | None:
    """Reads which run is in use; None where none was promoted yet.

    Raises:
      RunDamagedError: The file cannot be understood.
    """
    try:
        found = json.loads(path.read_bytes())
        return Current(
            path=path,
            dataset=str(found["dataset"]),
            now=_in_use(found["now"]),
            before=tuple(_in_use(one) for one in found["before"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunDamagedError(
            f"{path} does not say which run is in use ({error!r}). Restore it from a "
            "copy, or delete it: the next run is then promoted as the first one."
        ) from error


def require_current(path: Path) -> Current:
    """Reads which run is in use.

    Raises:
      NotFoundError: None is.
      RunDamagedError: The file cannot be understood.
    """
    found = read_current(path)
    if found is None:
        raise NotFoundError(
            f"Asked for the run in use by {path}: there is no such file. The first "
            "`tl-pipeline run` writes it."
        )
    return found


def switch(path: Path, dataset: str, *, run: str, identity: str) -> Current:
    """Puts a run in use, atomically; the one before it is remembered.

    Call it while `hold_gate` is held.

    Args:
      path: From `current_file`.
      dataset: The dataset's name.
      run: The name of the run's folder, beside the file.
      identity: The run's identity.
    """
    was = read_current(path)
    before = (*was.before, was.now) if was else ()
    found = Current(path, dataset, InUse(run, identity, now()), before)
    _write(found)
    return found


def roll_back(path: Path) -> Current:
    """Puts the run before the one in use into use again, atomically.

    Call it while `hold_gate` is held.

    Raises:
      NotFoundError: No run is in use, or none was before it.
    """
    was = require_current(path)
    if not was.before:
        raise NotFoundError(
            f"Asked to roll back {path}: {was.now.run} is the first run in use, and "
            "none was before it. Delete the file to have none in use."
        )
    again = dataclasses.replace(was.before[-1], since=now())
    found = Current(path, was.dataset, again, was.before[:-1])
    _write(found)
    return found


@contextlib.contextmanager
def hold_gate(path: Path) -> Iterator[None]:
    """Waits for the lock of a dataset's gate, and holds it; makes the folder.

    Raises:
      FailedError: The folder cannot be locked.
    """
    make_folder(path.parent)
    name = f".{path.name.removesuffix(SUFFIX)}{_LOCK_SUFFIX}"
    with hold_lock(path.with_name(name), of=path, needs="Promoting"):
        yield


def find_current(where: Path) -> Path:
    """Finds the file that is meant: itself, ROOT/DATASET, or the only one in a root.

    Raises:
      NotFoundError: There is none, or there are several; the message lists them.
    """
    if is_current_file(where):
        return where
    named = current_file(where.parent, where.name)
    if named.exists():
        return named
    found = sorted(where.glob(f"*{SUFFIX}"))
    if len(found) == 1:
        return found[0]
    beside = ", ".join(map(str, found or sorted(where.parent.glob(f"*{SUFFIX}"))))
    raise NotFoundError(
        f"Asked which run is in use at {where}: found {beside or 'no run in use'}. "
        "Name RUN_ROOT/DATASET, or the file itself."
    )


def now() -> str:
    """Returns the time as it is recorded: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")


def _write(current: Current) -> None:
    write_json(
        current.path,
        {
            "dataset": current.dataset,
            "now": dataclasses.asdict(current.now),
            "before": [dataclasses.asdict(one) for one in current.before],
        },
    )


def _in_use(found: Mapping[str, Any]) -> InUse:
    run = str(found["run"])
    if run != Path(run).name or run in ("", ".."):
        raise ValueError(f"{run!r} is no folder beside it")
    return InUse(run, str(found["identity"]), str(found["since"]))
