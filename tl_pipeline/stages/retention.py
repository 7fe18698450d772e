"""Retention: what a night may drop of stores and runs, by the configuration."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from tl_pipeline.digest import Json
from tl_pipeline.places import Place
from tl_pipeline.runs.current import current_file, read_current
from tl_pipeline.runs.run import RUN, list_runs
from tl_pipeline.store.store import open_store


@dataclasses.dataclass(frozen=True)
class Retained:
    """What was dropped.

    Attributes:
      snapshots: Snapshots, over all stores.
      rows: Rows that only those used.
      bytes: About the bytes freed in stores.
      runs: Folders of runs.
    """

    snapshots: int
    rows: int
    bytes: int
    runs: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Returns the report as plain data."""
        return dataclasses.asdict(self)


def retain(
    stores: Sequence[str | Place],
    run_root: str | Path,
    dataset: str,
    *,
    n_snapshots: int,
    n_runs: int,
    keep: Sequence[str | Path] = (),
    wait: bool = True,
) -> Retained:
    """Drops old snapshots with their rows, and old runs.

    The run in use stays, and the one to which a rollback would return, whatever their
    age.

    Args:
      stores: Folders of stores.
      run_root: The folder of runs.
      dataset: Whose runs.
      n_snapshots: Snapshots to keep of each dataset; 0: all.
      n_runs: Runs to keep, the latest; 0: all.
      keep: Runs that stay besides, such as those found again tonight, however old.
      wait: Whether to wait for another process that writes a store.

    Raises:
      StoreLockedError: Another process writes a store, and `wait` is False.
      StoreDamagedError: A kept snapshot is not the committed one.
      RunDamagedError: Which run is in use cannot be read.
    """
    snapshots = rows = freed = 0
    for store in dict.fromkeys(map(str, stores)) if n_snapshots else ():
        opened = open_store(store)
        with opened.lock(wait=wait):
            dropped = opened.collect(keep=n_snapshots)
        snapshots += len(dropped.snapshots)
        rows, freed = rows + dropped.rows, freed + dropped.bytes
    runs = _drop_runs(Path(run_root), dataset, n_runs, keep) if n_runs else ()
    return Retained(snapshots, rows, freed, runs)


def _drop_runs(
    root: Path, dataset: str, most: int, keep: Sequence[str | Path]
) -> tuple[str, ...]:
    current = read_current(current_file(root, dataset))
    kept = {current.folder, current.previous} if current else set()
    kept |= set(map(Path, keep))
    ours = [path for path in list_runs(root) if _is_of(path, dataset)]
    dropped = [path for path in ours[:-most] if path not in kept]
    for path in dropped:
        # What makes it a run goes first: what is left of a killed removal is none.
        (path / RUN).unlink()
        shutil.rmtree(path)
    return tuple(map(str, dropped))


def _is_of(path: Path, dataset: str) -> bool:
    # Of a damaged run too: it is as old as others.
    return json.loads((path / RUN).read_bytes())["provenance"]["dataset"] == dataset
