"""The run folder: everything one training left, under the identity of what it asked.

    <root>/<name>-<identity12>/
      run.json             what was asked, provenance, when, SHA-256 of the other files
      head.safetensors     the head's arrays
      head.json            what the head is, bound to spec, feature and snapshot
      metrics.json         every figure
      predictions.parquet  one row an example: id, split, target, prediction, classes
      report.html          for people
      since.json           what was measured of it afterwards, if anything was

A run appears whole or not at all: it is written beside its place and renamed into it.
Of two processes that make the same run, the first one's stays.
"""

import dataclasses
import datetime
import json
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json, file_digest, json_digest
from tl_pipeline.digest import short_digest as short
from tl_pipeline.errors import NotFoundError, RunDamagedError
from tl_pipeline.files import TEMPORARY_PREFIX, sync_folder
from tl_pipeline.runs.current import is_current_file, require_current, safe_stem
from tl_pipeline.runs.predictions import (
    Guess,
    Predictions,
    read_guesses,
    read_predictions,
    write_predictions,
)
from tl_pipeline.runs.since import SINCE, Since, read_since
from tl_pipeline.spec import check_same_spec

RUN, HEAD, ARRAYS = "run.json", "head.json", "head.safetensors"
METRICS, PREDICTIONS, REPORT = "metrics.json", "predictions.parquet", "report.html"
FILES = (
    ARRAYS,
    HEAD,
    METRICS,
    PREDICTIONS,
    REPORT,
)  # those that `run.json` vouches for
INGREDIENTS = ("spec", "snapshot", "features", "heads", "version")
_UNFINISHED = f"{TEMPORARY_PREFIX}run-"
_LEFTOVER_SECONDS = 24 * 3600  # longer than any process writes at a run
_MOST_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Run:
    """One training that was finished.

    Attributes:
      path: The run's folder.
      identity: SHA-256 of everything that was asked.
      asked: What was asked, plain data; the identity is its digest.
      provenance: Where it all came from, plain data.
      head: What the head is, plain data, its `spec`, `feature` and `snapshot` too.
      metrics: Every figure, plain data.
      created: When it was written: ISO 8601, UTC. No part of the identity.
      since: What was measured of it afterwards, plain data by name; likewise.
    """

    path: Path
    identity: str
    asked: Mapping[str, Any]
    provenance: Mapping[str, Any]
    head: Mapping[str, Any]
    metrics: Mapping[str, Any]
    created: str
    since: Mapping[str, Any]

    @property
    def spec(self) -> Mapping[str, Any]:
        """The feature spec that the head is bound to."""
        return self.head["spec"]

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / REPORT

    def guesses(self) -> dict[str, Guess]:
        """Reads what is likeliest of every example that was scored, by id."""
        return read_guesses(self.path / PREDICTIONS)

    def predictions(self) -> Predictions:
        """Reads what the head says of every example that was scored."""
        return read_predictions(self.path / PREDICTIONS)

    def head_arrays(self) -> dict[str, np.ndarray]:
        """Reads the head's arrays by name."""
        from safetensors.numpy import load_file

        return load_file(self.path / ARRAYS)

    def check_spec(self, wanted: Mapping[str, Json]) -> None:
        """Raises `SpecMismatchError`, naming the fields, for another spec."""
        check_same_spec(f"Run {self.path}", stored=self.spec, wanted=wanted)


def run_identity(asked: Mapping[str, Json]) -> str:
    """Returns the identity of a run: asking for the same again finds the same run.

    Args:
      asked: Plain data with at least `INGREDIENTS`: the digests of spec and snapshot,
        the features, the heads' configuration with its seeds, the package's version;
        and whatever else decides the outcome, such as baselines. No dates or paths.
    """
    missing = [key for key in INGREDIENTS if key not in asked]
    assert not missing, f"a run's identity needs {', '.join(missing)}"
    return json_digest(asked)


def find_run(root: Path, name: str, identity: str) -> Run | None:
    """Returns the run of an identity, or None where it was never finished.

    Raises:
      RunDamagedError: It was finished, but is not as it was written.
    """
    place = _place(root, name, identity)
    return _load_identical(place, identity) if place.exists() else None


def write_run(
    root: Path,
    name: str,
    *,
    asked: Mapping[str, Json],
    provenance: Mapping[str, Json],
    head: Mapping[str, Json],
    head_arrays: Mapping[str, np.ndarray],
    metrics: Mapping[str, Json],
    predictions: Predictions,
    report: str,
) -> Run:
    """Writes a run in one step that survives a crash.

    Args:
      root: The folder of runs; made where it is missing.
      name: The first part of the folder's name, the identity is the second.
      asked: See `run_identity`.
      provenance: Where it all came from.
      head: What the head is.
      head_arrays: Its arrays by name.
      metrics: Every figure.
      predictions: What the head says of the examples.
      report: The page for people, HTML.

    Returns:
      The run; the one that is there already where another process was faster.

    Raises:
      OSError: The disk is full, and so on; nothing of the run is left then.
      ValueError: A figure is not finite; likewise.
      RunDamagedError: The run is there already, but not as it was written.
    """
    from safetensors.numpy import save_file

    identity = run_identity(asked)
    place = _place(root, name, identity)
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    # Not named by the process id: in a container that is the same every night, and a
    # folder left by a killed run would be in the way of the next.
    folder = root / f"{_UNFINISHED}{uuid.uuid4().hex}"
    try:
        folder.mkdir()
        # `ascontiguousarray` would make a vector of a scalar.
        arrays = {key: np.asarray(x, order="C") for key, x in head_arrays.items()}
        save_file(arrays, folder / ARRAYS)
        _write_text(folder / HEAD, _pretty(head))
        _write_text(folder / METRICS, _pretty(metrics))
        _write_text(folder / REPORT, report)
        write_predictions(folder / PREDICTIONS, predictions)
        about = {
            "identity": identity,
            "asked": asked,
            "provenance": provenance,
            "created": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
            "files": {file: file_digest(folder / file) for file in FILES},
        }
        _write_text(folder / RUN, _pretty(about))
        for path in folder.iterdir():
            sync_folder(path)  # fsync takes any descriptor, a file's too
        sync_folder(folder)
        try:
            folder.rename(place)
        except OSError:
            if not place.exists():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sync_folder(root)
    return _load_identical(place, identity)


def load_run(path: str | Path) -> Run:
    """Loads a run and checks that its files are the ones that were written.

    Args:
      path: The run's folder, or a `.current.json`, which stands for the run in use.

    Raises:
      NotFoundError: There is no run; the message lists those beside it.
      RunDamagedError: A file is missing or is not the one that was written.
    """
    path = Path(path)
    if is_current_file(path):
        path = require_current(path).folder
    if not (path / RUN).is_file():
        found = [str(other) for other in list_runs(path.parent)]
        others = ", ".join(found[-_MOST_LISTED:]) or "none"
        if len(found) > _MOST_LISTED:
            others += f" and {len(found) - _MOST_LISTED} older ones"
        raise NotFoundError(
            f"Asked for the run {path}: there is no {RUN} in it. Runs beside it: "
            f"{others}. Name one of them, or train."
        )
    try:
        about = json.loads((path / RUN).read_bytes())
        since = _read_since(path)
        bad = [file for file in FILES if not _is_intact(path / file, about, since)]
        if about["identity"] != json_digest(about["asked"]):
            bad.append(RUN)
        if bad:
            raise _damaged(path, f"{', '.join(sorted(bad))} changed or went missing")
        return Run(
            path=path,
            identity=about["identity"],
            asked=about["asked"],
            provenance=about["provenance"],
            head=json.loads((path / HEAD).read_bytes()),
            metrics=json.loads((path / METRICS).read_bytes()),
            created=about["created"],
            since=since.measured,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{RUN} cannot be read ({error!r})") from error


def list_runs(root: Path) -> list[Path]:
    """Lists the folders of finished runs under a root, the latest last."""
    if not root.is_dir():
        return []
    found = [
        path.parent
        for path in root.glob(f"*/{RUN}")
        if not path.parent.name.startswith(TEMPORARY_PREFIX)
    ]
    return sorted(found, key=lambda path: ((path / RUN).stat().st_mtime_ns, path.name))


def _place(root: Path, name: str, identity: str) -> Path:
    return root / f"{safe_stem(name)}-{short(identity)}"


def _load_identical(place: Path, identity: str) -> Run:
    """Loads what stands in the place of a run, if it is that run."""
    if not (place / RUN).is_file():
        raise _damaged(place, f"{RUN} is missing")
    run = load_run(place)
    if run.identity != identity:
        raise _damaged(place, f"it is run {run.identity}, under another run's name")
    return run


def _read_since(path: Path) -> Since:
    try:
        return read_since(path)
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{SINCE} cannot be read ({error!r})") from error


def _is_intact(path: Path, about: Mapping[str, Any], since: Since) -> bool:
    wanted = {about["files"][path.name]}
    if path.name == REPORT:
        wanted |= set(since.pages)
    return path.is_file() and file_digest(path) in wanted


def _damaged(path: Path, finding: str) -> RunDamagedError:
    return RunDamagedError(
        f"Run {path} is not as it was written: {finding}. Restore it, or delete it and "
        "train again."
    )


def _pretty(value: Mapping[str, Json]) -> str:
    # In the order that it has: a page that is made anew lists what the first one did.
    # NaN is refused, which other readers of JSON do not know.
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _write_text(path: Path, text: str) -> None:
    # Whatever the locale; and a page is better with an odd character spelled out than
    # not at all.
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))


def _sweep(root: Path) -> None:
    """Removes what killed processes left, once no live one can be writing it."""
    for folder in root.glob(f"{_UNFINISHED}*"):
        try:
            age = time.time() - folder.stat().st_mtime
        except FileNotFoundError:  # another process finished, or swept it
            continue
        if age > _LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
