"""What happened to a store: extractions, live checks, collections, merges.

None of it decides what the store holds, so none of it is in the manifest, which stays
byte-equal however an extraction was interrupted.
"""

from collections.abc import Iterable, Mapping

from tl_pipeline.digest import Json
from tl_pipeline.places import Place
from tl_pipeline.store.lines import read_lines, write_lines
from tl_pipeline.store.schema import HISTORY

KEPT_LINES = 1000


def add_extraction(path: Place, record: Mapping[str, Json]) -> None:
    """Adds the record of an extraction to the store in a folder."""
    _add(path, {**record, "event": "extraction"})


def add_parity(path: Place, record: Mapping[str, Json]) -> None:
    """Adds the record of a passed parity check; `shards` names what it covers."""
    if not isinstance(record.get("shards"), (list, tuple)):
        raise TypeError("A parity record names the shards that it covers.")
    _add(path, {**record, "event": "parity"})


def add_dropped(path: Place, event: str, dropped: Iterable[str]) -> None:
    """Adds the record of what is about to drop shards of these names.

    Args:
      path: The store's folder.
      event: `"collection"` or `"merge"`.
      dropped: The shards' names.
    """
    _add(path, {"dropped": list(dropped), "event": event})


def dropped_shards(path: Place) -> set[str]:
    """Returns the names of the shards that some collection or merge dropped."""
    return {
        str(name)
        for record in read_history(path)
        if record.get("event") in ("collection", "merge")
        and isinstance(names := record.get("dropped"), list)
        for name in names
    }


def read_history(path: Place) -> list[dict[str, Json]]:
    """Reads all records of the store in a folder, oldest first.

    Raises:
      StoreDamagedError: A line is not the one that was written.
    """
    return read_lines(path / HISTORY)


def covered_shards(path: Place) -> set[str]:
    """Returns the names of the shards that some parity record covers."""
    return {name for record in read_history(path) for name in _names(record)}


def recorded_rate(
    path: Place, *, versions: Mapping[str, Json] | None = None, least: int = 1
) -> float | None:
    """Returns the rows a second of the largest extraction on record, or None.

    A nightly run of a dozen rows measures how long a network takes to compile.

    Args:
      path: The store's folder.
      versions: Only of extractions by these library versions and platform.
      least: Only of extractions of so many rows.
    """
    best: tuple[int, float] | None = None
    for record in read_history(path):
        rows, seconds = record.get("rows_computed"), record.get("seconds")
        if versions is not None and record.get("versions") != dict(versions):
            continue
        if isinstance(rows, int) and isinstance(seconds, (int, float)):
            if rows >= least > 0 and seconds > 0 and (best is None or rows >= best[0]):
                best = rows, rows / seconds
    return best[1] if best else None


def _add(path: Place, record: Mapping[str, Json]) -> None:
    history = [*read_history(path), dict(record)]
    # A parity record is kept beyond its time while it alone vouches for a shard.
    kept: list[dict[str, Json]] = []
    covered: set[str] = set()
    for age, old in enumerate(reversed(history)):
        if age < KEPT_LINES or not _names(old) <= covered:
            kept.append(old)
        covered |= _names(old)
    write_lines(path / HISTORY, reversed(kept))


def _names(record: Mapping[str, Json]) -> set[str]:
    shards = record.get("shards")
    if record.get("event") != "parity" or not isinstance(shards, list | tuple):
        return set()
    return set(map(str, shards))
