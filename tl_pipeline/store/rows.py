"""The features of a snapshot's examples, side by side with their table."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from tl_pipeline.errors import NotFoundError, RequestError, StoreError
from tl_pipeline.examples import SPLITS, Examples
from tl_pipeline.spec import PLAIN, View
from tl_pipeline.store.failures import read_failures
from tl_pipeline.store.lookup import Lookup
from tl_pipeline.store.manifest import SnapshotEntry
from tl_pipeline.store.reading import read_verified
from tl_pipeline.store.schema import SNAPSHOTS
from tl_pipeline.store.snapshots import parse_snapshot


@dataclasses.dataclass(frozen=True)
class Rows:
    """Features of the examples of a snapshot that have some, in order of id.

    Attributes:
      features: [N, ...] in the store's dtype.
      targets: N class names; None where an example is unlabeled.
      ids: N ids.
      content: [N, 32] uint8 content digests.
      splits: N of `"train"`, `"val"`, `"test"`.
      groups: N group names, or None.
      failed: Ids of the examples asked for that gave no row.
    """

    features: np.ndarray
    targets: tuple[str | None, ...]
    ids: tuple[str, ...]
    content: np.ndarray
    splits: tuple[str, ...]
    groups: tuple[str | None, ...]
    failed: tuple[str, ...]


def find_snapshot(
    lookup: Lookup, dataset: str | None, digest: str | None
) -> SnapshotEntry:
    """Returns a dataset's latest snapshot, or the one whose digest begins so.

    Raises:
      RequestError: Several datasets and none named, or several such snapshots.
      NotFoundError: There is none.
    """
    manifest, what = lookup.manifest, f"Feature store {lookup.path}"
    entries = [
        entry
        for entry in manifest.snapshots
        if dataset in (None, entry.dataset) and entry.digest.startswith(digest or "")
    ]
    asked = " ".join(
        [f"of dataset {dataset!r}"] * (dataset is not None)
        + [f"with digest {digest}"] * (digest is not None)
    )
    if not entries:
        known = ", ".join(
            f"{entry.dataset} {entry.digest[:12]}" for entry in manifest.snapshots
        )
        raise NotFoundError(
            f"{what} has no snapshot {asked}".rstrip()
            + (f"; it has {known}." if known else "; extract a dataset into it first.")
        )
    datasets = sorted({entry.dataset for entry in entries})
    if digest is None and len(datasets) > 1:
        raise RequestError(
            f"{what} has snapshots of {len(datasets)} datasets: {', '.join(datasets)}. "
            "Name one of them."
        )
    if digest is not None and len({entry.digest for entry in entries}) > 1:
        raise RequestError(
            f"{what} has {len(entries)} snapshots whose digests begin with {digest}. "
            "Give more digits."
        )
    return entries[-1]


def read_snapshot(lookup: Lookup, dataset: str | None, digest: str | None) -> Examples:
    """Reads the examples of a dataset's latest snapshot, or of a named one.

    Raises:
      RequestError: As `find_snapshot`; NotFoundError is one.
      FileNotFoundError: Its file is not there.
      StoreDamagedError: Its file is not the committed one.
    """
    entry = find_snapshot(lookup, dataset, digest)
    path = lookup.path / SNAPSHOTS / entry.name
    data = read_verified(path, sha256=entry.sha256, size=entry.bytes)
    return parse_snapshot(path, data, entry)


def read_split(
    lookup: Lookup,
    feature: str,
    split: str | None,
    dataset: str | None,
    snapshot: str | Examples | None,
    view: View = PLAIN,
) -> Rows:
    """Reads a feature of a snapshot's examples, both by the same manifest.

    The rows of a snapshot may be collected while it is read. So if one of its files is
    gone, all is to be read again: its dataset has a later one by then.

    Raises:
      FileNotFoundError: A file that the manifest names is not there.
      TlPipelineError: As `read_snapshot`, `take_split` and `read_features`.
    """
    if not isinstance(snapshot, Examples):
        snapshot = read_snapshot(lookup, dataset, snapshot)
    taken = take_split(snapshot, split)
    return read_features(lookup, feature, taken, view)


def read_features(
    lookup: Lookup,
    feature: str,
    examples: Examples,
    view: View = PLAIN,
) -> Rows:
    """Reads a feature of some examples, those left out that failed.

    Raises:
      FileNotFoundError: A shard that the manifest names is not there.
      StoreError: Some examples were never computed.
      StoreDamagedError: A shard is not the committed one.
    """
    everything = np.arange(len(examples))
    places = find_places(lookup, feature, examples, everything, view)
    found = np.flatnonzero(places >= 0)
    absent = np.flatnonzero(places < 0).tolist()
    table = examples.take(found)
    return Rows(
        features=lookup.read(feature, places[found], view),
        targets=table.targets,
        ids=table.ids,
        content=table.content,
        splits=table.splits,
        groups=table.groups,
        failed=tuple(examples.ids[i] for i in absent),
    )


def find_places(
    lookup: Lookup,
    feature: str,
    examples: Examples,
    rows: np.ndarray,
    view: View = PLAIN,
) -> np.ndarray:
    """Finds rows of an example table in a feature's index.

    Args:
      lookup: Where to look.
      feature: The feature's name.
      examples: The table.
      rows: [n] int64 positions in it.
      view: Which view.

    Returns:
      [n] int64 places in the index, -1 where an example failed.

    Raises:
      FileNotFoundError: A shard that the manifest names is not there.
      StoreError: Some examples were never computed.
    """
    places = lookup.index(feature, view).find(examples.content[rows])
    absent = rows[places < 0].tolist()
    if absent:
        what = feature if view == PLAIN else f"view {view.number} of {feature}"
        _check_failed(lookup, what, examples, absent, len(rows))
    return places


def split_rows(examples: Examples, split: str | None) -> np.ndarray:
    """Returns the [n] int64 positions of a split's examples, or all for None.

    Raises:
      RequestError: There is no split of this name.
    """
    if split is None:
        return np.arange(len(examples))
    if split not in SPLITS:
        raise RequestError(f"Asked for split {split!r}; known are {', '.join(SPLITS)}.")
    return np.flatnonzero(np.array(examples.splits) == split)


def take_split(examples: Examples, split: str | None) -> Examples:
    """Returns the examples of a split, or all of them for None.

    Raises:
      RequestError: There is no split of this name.
    """
    return examples if split is None else examples.take(split_rows(examples, split))


def check_known(what: str, features: Iterable[str], known: Iterable[str]) -> None:
    """Raises `NotFoundError` for a feature that is not among the known ones."""
    known = sorted(known)
    for name in features:
        if name not in known:
            raise NotFoundError(
                f"{what} has no feature {name!r}; it has {', '.join(known) or 'none'}."
            )


def _check_failed(
    lookup: Lookup, what: str, examples: Examples, absent: list[int], asked: int
) -> None:
    """Raises `StoreError` if some absent examples are not known to have failed."""
    manifest = lookup.manifest
    known = {*manifest.failed, *manifest.retry}
    known |= {failure.content for failure in read_failures(lookup.path)}
    never = [i for i in absent if examples.content[i].tobytes().hex() not in known]
    if never:
        raise StoreError(
            f"Feature store {lookup.path} has no {what} of {len(never):,} of the "
            f"{asked:,} examples asked for, the first "
            f"{examples.ids[never[0]]}: extract {what} of dataset "
            f"{examples.dataset} into it."
        )
