"""The manifest: the one file that says what a store holds.

It is canonical JSON, replaced atomically and always last, and it vouches for every
other file by SHA-256 and for itself by a digest of its own. Nothing in it depends on
when or how often a store was written. It is read as a stranger's file: a manifest
that was tampered with names no path outside its folder.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_pipeline.digest import Json, bytes_digest, canonical_json, json_digest
from tl_pipeline.errors import (
    BucketError,
    NotFoundError,
    StoreConflictError,
    StoreDamagedError,
    StoreError,
    TlPipelineError,
)
from tl_pipeline.files import write_atomically
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place
from tl_pipeline.spec import SCHEMA_VERSION, View
from tl_pipeline.store.lease import check_lease
from tl_pipeline.store.schema import (
    DIGEST,
    MANIFEST,
    SHARD_NAME,
    SNAPSHOT_NAME,
    FeatureInfo,
    check_features,
)


@dataclasses.dataclass(frozen=True)
class ShardEntry:
    """A committed shard.

    Attributes:
      name: File name in `shards/`.
      rows: Rows, at least one.
      bytes: File size.
      sha256: Of the whole file.
      features: Names of the features it holds, sorted.
      recipe: Recipe of its rows' view.
      view: Number of its rows' view.
      keys_offset: Where in the file its [rows, 32] content digests lie, so that an
        index needs neither HDF5 nor the features.
      keys_sha256: Of these bytes.
      largest: Largest magnitude by feature name.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    features: tuple[str, ...]
    recipe: str
    view: int
    keys_offset: int
    keys_sha256: str
    largest: Mapping[str, float]

    @property
    def number(self) -> int:
        """The number that the name begins with."""
        return int(self.name.partition("-")[0])


@dataclasses.dataclass(frozen=True)
class SnapshotEntry:
    """A committed snapshot; `digest` is that of the example table."""

    dataset: str
    digest: str
    name: str
    rows: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a store holds.

    Attributes:
      name: The store's name, the first part of its folder's.
      spec: The feature spec as plain data.
      batch_size: The one batch shape that computes its rows.
      shard_rows: Rows in a full shard.
      features: Features by name.
      shards: In order of commit.
      snapshots: The latest of each dataset is the last one of that dataset.
      failed: Content digest → sorted scopes of settled failures; see `failures.py`.
      retry: Sorted content digests that could not be read when their turn came.
    """

    name: str
    spec: Mapping[str, Json]
    batch_size: int
    shard_rows: int
    features: Mapping[str, FeatureInfo]
    shards: tuple[ShardEntry, ...] = ()
    snapshots: tuple[SnapshotEntry, ...] = ()
    failed: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    retry: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The feature spec's digest."""
        return json_digest(self.spec)

    @property
    def next_number(self) -> int:
        """The number of the next shard."""
        return max((shard.number for shard in self.shards), default=-1) + 1

    def shards_of(self, feature: str, view: View) -> list[ShardEntry]:
        """Returns the shards that hold a feature of a view, in order of commit."""
        return [
            shard
            for shard in self.shards
            if (shard.recipe, shard.view) == view and feature in shard.features
        ]

    def to_json(self) -> dict[str, Json]:
        """Returns the manifest as plain data, its own digest included."""
        body: dict[str, Json] = {
            "schema": SCHEMA_VERSION,
            "digest": self.digest,
            **{
                field.name: getattr(self, field.name)
                for field in dataclasses.fields(self)
            },
            "features": {name: info._asdict() for name, info in self.features.items()},
            "shards": [dataclasses.asdict(shard) for shard in self.shards],
            "snapshots": [dataclasses.asdict(entry) for entry in self.snapshots],
        }
        return {**body, "manifest_sha256": json_digest(body)}

    def to_bytes(self) -> bytes:
        """Returns the bytes of `store.json`."""
        return (canonical_json(self.to_json()) + "\n").encode()


def replace_manifest(path: Place, older: Manifest | None, newer: Manifest) -> None:
    """Commits: from then on the store in a folder holds what its manifest says.

    Args:
      path: The folder.
      older: The manifest that is there; None where there is to be none. In a folder
        the store's lock vouches for that, in a bucket the server.
      newer: The manifest that takes its place.

    Raises:
      StoreConflictError: Another process committed meanwhile. Nothing was changed.
      OSError: It cannot be written. Nothing was changed.
    """
    file = path / MANIFEST
    if isinstance(file, ObjectPath):
        check_lease(file.parent)
        try:
            file.swap_bytes(older and older.to_bytes(), newer.to_bytes())
        except StoreConflictError:
            raise StoreConflictError(
                f"Feature store {path}: another process committed to it at the same "
                "time. What it committed stands, and so does what this one did before: "
                "run the same command again, it continues from there."
            ) from None
    else:
        write_atomically(file, newer.to_bytes())


def read_manifest(path: Place) -> Manifest:
    """Reads the manifest of the store in a folder.

    Raises:
      NotFoundError: There is no store there.
      StoreDamagedError: The manifest is not the one that was committed.
      StoreError: It was written by a later version of this package.
    """
    file = path / MANIFEST
    try:
        data = file.read_bytes() if isinstance(file, Path) else file.read_version()
    except BucketError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(
            f"Asked for the feature store {path}, which has no {MANIFEST}. Name the "
            "folder of a store, as `tl-pipeline store ls` lists them."
        ) from None
    except OSError as error:
        raise StoreError(f"Feature store {path} cannot be read: {error}.") from error
    try:
        return _parse(data)
    except StoreError as error:
        raise type(error)(f"Feature store {path}: {error}") from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TlPipelineError,
        TypeError,
        ValueError,
    ) as error:
        raise StoreDamagedError(
            f"Feature store {path}: {MANIFEST} is damaged ({_brief(error)}). Restore "
            "it from a copy, or delete the folder and extract again."
        ) from None


def _parse(data: bytes) -> Manifest:
    value = json.loads(data)
    body = {key: item for key, item in value.items() if key != "manifest_sha256"}
    if value["manifest_sha256"] != json_digest(body):
        raise ValueError("its digest is not that of its content")
    # A digest alone would let a change of white space pass for an intact file.
    if bytes_digest(data) != bytes_digest((canonical_json(value) + "\n").encode()):
        raise ValueError("it is not canonical JSON")
    if body["schema"] != SCHEMA_VERSION:
        raise StoreError(
            f"{MANIFEST} has schema version {body['schema']}, this package reads "
            f"{SCHEMA_VERSION}. Use the version of tl_pipeline that wrote it."
        )
    manifest = Manifest(
        name=_typed(body, "name", str),
        spec=_typed(body, "spec", dict),
        batch_size=_count(body, "batch_size", least=1),
        shard_rows=_count(body, "shard_rows", least=1),
        features={name: _feature(info) for name, info in body["features"].items()},
        shards=tuple(_shard(entry) for entry in body["shards"]),
        snapshots=tuple(_snapshot(entry) for entry in body["snapshots"]),
        failed={
            _digest(content): tuple(map(_text, scopes))
            for content, scopes in body["failed"].items()
        },
        retry=tuple(map(_digest, body["retry"])),
    )
    check_features(manifest.features)
    if canonical_json(manifest.to_json()) != canonical_json(value):
        raise ValueError("it has fields that do not belong together")
    names = [entry.name for entry in (*manifest.shards, *manifest.snapshots)]
    if len(set(names)) != len(names):
        raise ValueError("it names a file twice")
    for shard in manifest.shards:
        if not set(shard.features) <= manifest.features.keys():
            raise ValueError(f"shard {shard.name} holds a feature it does not list")
    return manifest


def _feature(value: dict[str, Any]) -> FeatureInfo:
    shape = tuple(_count({"size": size}, "size", least=1) for size in value["shape"])
    classifier = value["classifier"]
    return FeatureInfo(
        shape,
        _typed(value, "dtype", str),
        None if classifier is None else _text(classifier),
    )


def _shard(value: dict[str, Any]) -> ShardEntry:
    entry = ShardEntry(
        name=_typed(value, "name", str),
        rows=_count(value, "rows", least=1),
        bytes=_count(value, "bytes"),
        sha256=_typed(value, "sha256", str),
        features=tuple(map(_text, value["features"])),
        recipe=_typed(value, "recipe", str),
        view=_count(value, "view"),
        keys_offset=_count(value, "keys_offset"),
        keys_sha256=_typed(value, "keys_sha256", str),
        largest={name: float(x) for name, x in value["largest"].items()},
    )
    if not SHARD_NAME.fullmatch(entry.name):
        raise ValueError(f"{entry.name!r} is not a shard's name")
    # Bounds every later allocation by the size of a file that has to exist.
    if entry.keys_offset + 32 * entry.rows > entry.bytes:
        raise ValueError(f"shard {entry.name} is too small for its rows")
    if entry.largest.keys() != set(entry.features):
        raise ValueError(f"shard {entry.name} has magnitudes of other features")
    return entry


def _snapshot(value: dict[str, Any]) -> SnapshotEntry:
    entry = SnapshotEntry(
        dataset=_typed(value, "dataset", str),
        digest=_typed(value, "digest", str),
        name=_typed(value, "name", str),
        rows=_count(value, "rows"),
        bytes=_count(value, "bytes"),
        sha256=_typed(value, "sha256", str),
    )
    if not SNAPSHOT_NAME.fullmatch(entry.name):
        raise ValueError(f"{entry.name!r} is not a snapshot's name")
    return entry


def _typed(value: dict[str, Any], key: str, kind: type) -> Any:
    if type(value[key]) is not kind:
        raise TypeError(f"{key} is not a {kind.__name__}")
    return value[key]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _digest(value: object) -> str:
    if not DIGEST.fullmatch(_text(value)):
        raise ValueError(f"{value!r:.40} is not a digest")
    return str(value)


def _count(value: dict[str, Any], key: str, *, least: int = 0) -> int:
    number = _typed(value, key, int)
    if not least <= number < 2**63:
        raise ValueError(f"{key} is {number}")
    return number


def _brief(error: Exception) -> str:
    return f"{error}" if isinstance(error, ValueError) else repr(error)
