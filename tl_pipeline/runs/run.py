"""The run folder: everything one training left, under the identity of what it asked.

    <root>/<name>-<identity12>/
      run.json             what was asked, provenance, SHA-256 of every other file
      head.safetensors     the head's arrays
      head.json            what the head is, bound to spec, feature and snapshot
      metrics.json         every figure
      predictions.parquet  one row an example: id, split, target, prediction, classes
      report.html          for people

A run appears whole or not at all: it is written beside its place and renamed into it.
"""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json, canonical_json, file_digest, json_digest
from tl_pipeline.digest import short_digest as short
from tl_pipeline.errors import NotFoundError, RunDamagedError
from tl_pipeline.files import TEMPORARY_PREFIX, sync_folder
from tl_pipeline.runs.predictions import Predictions, write_predictions
from tl_pipeline.spec import check_same_spec

RUN, HEAD, ARRAYS = "run.json", "head.json", "head.safetensors"
METRICS, PREDICTIONS, REPORT = "metrics.json", "predictions.parquet", "report.html"
_LEFTOVER_SECONDS = 24 * 3600  # older than any training that is still writing


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
    """

    path: Path
    identity: str
    asked: Mapping[str, Any]
    provenance: Mapping[str, Any]
    head: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def spec(self) -> Mapping[str, Any]:
        """The feature spec that the head is bound to."""
        return self.head["spec"]

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / REPORT

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
      asked: Spec, snapshot, features, head configuration, seeds, baselines and the
        package's version, as plain data.
    """
    return json_digest(asked)


def find_run(root: Path, name: str, identity: str) -> Run | None:
    """Returns the run of an identity, if it was finished."""
    path = _place(root, name, identity)
    return load_run(path) if (path / RUN).exists() else None


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
    """
    from safetensors.numpy import save_file

    identity = run_identity(asked)
    place = _place(root, name, identity)
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    folder = root / f"{TEMPORARY_PREFIX}{place.name}-{os.getpid()}"
    try:
        folder.mkdir()
        arrays = {key: np.ascontiguousarray(x) for key, x in head_arrays.items()}
        save_file(arrays, folder / ARRAYS)
        (folder / HEAD).write_text(_pretty(head))
        (folder / METRICS).write_text(_pretty(metrics))
        (folder / REPORT).write_text(report)
        write_predictions(folder / PREDICTIONS, predictions)
        about = {
            "identity": identity,
            "asked": asked,
            "provenance": provenance,
            "files": {path.name: file_digest(path) for path in folder.iterdir()},
        }
        (folder / RUN).write_text(_pretty(about))
        for path in folder.iterdir():
            sync_folder(path)  # fsync takes any descriptor, a file's too
        sync_folder(folder)
        try:
            folder.rename(place)
        except OSError:
            if not (place / RUN).exists():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sync_folder(root)
    return load_run(place)


def load_run(path: str | Path) -> Run:
    """Loads a run and checks that its files are the ones that were written.

    Raises:
      NotFoundError: There is no run; the message lists those beside it.
      RunDamagedError: A file is missing or is not the one that was written.
    """
    path = Path(path)
    if not (path / RUN).is_file():
        others = ", ".join(str(p) for p in list_runs(path.parent)) or "none"
        raise NotFoundError(
            f"Asked for the run {path}: there is no {RUN}. Runs beside it: {others}."
        )
    try:
        about = json.loads((path / RUN).read_text())
        bad = [
            name
            for name, digest in about["files"].items()
            if Path(name).name != name
            or not (path / name).is_file()
            or file_digest(path / name) != digest
        ]
        if about["identity"] != run_identity(about["asked"]):
            bad.append(RUN)
        if bad:
            raise RunDamagedError(
                f"Run {path} is not as it was written: {', '.join(sorted(bad))} "
                "changed or went missing. Restore it, or delete it and train again."
            )
        return Run(
            path=path,
            identity=about["identity"],
            asked=about["asked"],
            provenance=about["provenance"],
            head=json.loads((path / HEAD).read_text()),
            metrics=json.loads((path / METRICS).read_text()),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunDamagedError(
            f"Run {path} cannot be read: {error!r}. Restore it, or delete it and train "
            "again."
        ) from error


def list_runs(root: Path) -> Sequence[Path]:
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
    stem = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return root / f"{stem.lstrip('.') or '_'}-{short(identity)}"


def _pretty(value: Mapping[str, Json]) -> str:
    # The canonical text first: it refuses NaN, which other readers of JSON do not know.
    return json.dumps(json.loads(canonical_json(value)), indent=2) + "\n"


def _sweep(root: Path) -> None:
    """Removes what killed trainings left, once no live one can be writing it."""
    for folder in root.glob(f"{TEMPORARY_PREFIX}*"):
        if time.time() - folder.stat().st_mtime > _LEFTOVER_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
