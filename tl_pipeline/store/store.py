"""The feature store: a folder of verified features, opened for one feature spec."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from tl_pipeline.digest import Json, json_digest
from tl_pipeline.examples import Examples
from tl_pipeline.places import Place, find_place
from tl_pipeline.spec import PLAIN, View, check_same_spec
from tl_pipeline.store import failures as failing
from tl_pipeline.store import gc, history, merge, parts, schema, writer
from tl_pipeline.store import rows as tables
from tl_pipeline.store.describe import describe_store
from tl_pipeline.store.failures import Failure
from tl_pipeline.store.lock import check_platform, hold_lock
from tl_pipeline.store.lookup import Lookup, ParitySample, read_settled
from tl_pipeline.store.manifest import Manifest, SnapshotEntry, read_manifest
from tl_pipeline.store.plan import Group, plan_missing
from tl_pipeline.store.rows import Rows
from tl_pipeline.store.schema import FeatureInfo


class FeatureStore:
    """A feature store.

    Reading takes no lock and sees the state of the last `reload`. Writing is done
    within `lock()`:

        with store.lock():
            for group in store.plan(content, ["pool"]):
                for i, rows in enumerate(group.ranges):  # of group.content
                    store.commit(group, i, content=..., arrays=..., failed=..., ...)
            store.commit_snapshot(examples)
    """

    def __init__(self, path: Place, manifest: Manifest):
        self.path = path
        self._what = f"Feature store {path}"
        self._lookup = Lookup(path, manifest)
        self._declared = dict(manifest.features)
        self._locked = False

    @classmethod
    def create_or_open(
        cls,
        root: str | Place,
        *,
        name: str,
        spec: Mapping[str, Json],
        features: Mapping[str, FeatureInfo],
        batch_size: int,
        wait: bool = True,
        on_wait: Callable[[str], None] | None = None,
    ) -> "FeatureStore":
        """Opens the store of a spec under a root, and makes it if there is none.

        Args:
          root: The folder of all stores.
          name: The first part of the store's name; its spec's digest is the second.
          spec: The feature spec as plain data.
          features: The features that will be asked for.
          batch_size: The one batch shape of a new store; an existing one keeps its own.
          wait: As in `lock`.
          on_wait: As in `lock`.

        Raises:
          SpecMismatchError: See `declare`.
          StoreError: It cannot be written or read.
        """
        schema.check_features(features)
        path = find_place(root) / schema.folder_name(name, json_digest(spec))
        if not (path / schema.MANIFEST).exists():
            shard_rows = schema.choose_shard_rows(features)
            made = Manifest(name, spec, batch_size, shard_rows, dict(features))
            writer.create_store(path, made, wait=wait, on_wait=on_wait)
        store = open_store(path, spec=spec)
        store.declare(features)
        return store

    @property
    def manifest(self) -> Manifest:
        """What the store holds, as of the last `reload` or commit."""
        return self._lookup.manifest

    @property
    def spec(self) -> Mapping[str, Json]:
        """The feature spec as plain data."""
        return self.manifest.spec

    @property
    def digest(self) -> str:
        """The feature spec's digest."""
        return self.manifest.digest

    @property
    def batch_size(self) -> int:
        """The one batch shape that computes the store's rows."""
        return self.manifest.batch_size

    @property
    def dtype(self) -> str:
        """The dtype of its rows, by name."""
        return str(self.spec["store_dtype"])

    @contextlib.contextmanager
    def lock(
        self, *, wait: bool = True, on_wait: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Holds the store for writing: reloaded, and swept of leftovers.

        Args:
          wait: Whether to wait for another writer, or to raise.
          on_wait: Called with a sentence that says who holds it; else it is logged.

        Raises:
          StoreLockedError: Another process holds it, and `wait` is False.
        """
        with hold_lock(self.path, wait=wait, on_wait=on_wait):
            self._locked = True
            try:
                self.reload()
                with self._writing():
                    writer.sweep_leftovers(self.path, self.manifest)
                yield
            finally:
                self._locked = False

    def declare(self, features: Mapping[str, FeatureInfo]) -> None:
        """Says what rows of some features look like, before they are planned.

        Raises:
          SpecMismatchError: The store has one of them with another shape or classifier.
        """
        schema.check_features(features)
        schema.check_same_features(self._what, stored=self._declared, wanted=features)
        self._declared.update(features)

    def plan(
        self,
        content: np.ndarray,
        features: Sequence[str],
        *,
        view: View = PLAIN,
        retry_failed: bool = False,
    ) -> list[Group]:
        """Lists the rows that are missing, in the order in which to commit them.

        Settled failures are left out, unless they are to be retried or their reason
        was lost; failures to read a file are never settled.

        Args:
          content: [N, 32] uint8 content digests, in any order, with duplicates.
          features: Names of declared features.
          view: Which view.
          retry_failed: Whether to attempt settled failures again.

        Raises:
          StoreDamagedError: A shard's digests are not the committed ones.
        """
        tables.check_known(self._what, features, self._declared)
        lost = failing.missing_reasons(failing.read_failures(self.path), self.manifest)
        return read_settled(
            lambda: plan_missing(
                self.manifest,
                content,
                features,
                view=view,
                index=lambda name: self._lookup.index(name, view),
                range_rows=lambda names: schema.range_rows(
                    self.manifest.shard_rows, [self._declared[name] for name in names]
                ),
                again=list(self.manifest.failed) if retry_failed else lost,
            ),
            self.reload,
        )

    def commit(
        self,
        group: Group,
        range_index: int,
        *,
        content: np.ndarray,
        arrays: Mapping[str, np.ndarray],
        failed: Iterable[Failure] = (),
        versions: Mapping[str, Json],
    ) -> str | None:
        """Commits one range of a plan; when it returns, the rows survive a crash.

        Every digest of the range is either in `content` or in `failed`.

        Args:
          group: A group of `plan`.
          range_index: Which of its ranges; they are committed in order.
          content: [k, 32] uint8, the digests that gave rows, in the group's order.
          arrays: [k, ...] floating rows by feature name; cast to the store's dtype.
          failed: The others, each with its reason.
          versions: Library versions and platform, written into the shard.

        Returns:
          The new shard's name; None if every row failed.

        Raises:
          StoreError: The disk is full, and so on; or the rows are not the range's,
            or not finite in the store's dtype. Nothing is committed then.
        """
        asked = self.path, self.manifest, group, range_index
        with self._writing():
            manifest, shard = writer.commit_rows(
                *asked,
                content=content,
                arrays=arrays,
                infos=self._declared,
                failed=tuple(failed),
                versions=versions,
            )
        self._become(manifest)
        return shard

    def commit_part(self, group: Group, range_index: int, part: parts.Part) -> None:
        """Commits one range that another process wrote; otherwise as `commit`."""
        asked = self.path, self.manifest, group, range_index, part
        with self._writing():
            self._become(parts.commit_part(*asked, infos=self._declared))

    def commit_snapshot(self, examples: Examples) -> SnapshotEntry:
        """Commits a snapshot as the latest of its dataset; an old one costs nothing."""
        with self._writing():
            self._become(writer.commit_examples(self.path, self.manifest, examples))
        return tables.find_snapshot(self._lookup, examples.dataset, None)

    def record_unreadable(
        self, dataset: str, unreadable: Iterable[tuple[str, str]]
    ) -> None:
        """Replaces a dataset's examples (id, reason) whose bytes could not be read."""
        with self._writing():
            failing.replace_unreadable(self.path, dataset, unreadable)

    def record_extraction(self, record: Mapping[str, Json]) -> None:
        """Keeps a record of an extraction: at least `rows_computed` and `seconds`."""
        with self._writing():
            history.add_extraction(self.path, record)

    def record_parity(self, record: Mapping[str, Json]) -> None:
        """Keeps a record of a passed parity check; `shards` names what it covers."""
        with self._writing():
            history.add_parity(self.path, record)

    def collect(self, *, keep: int = gc.KEEP) -> gc.GcPlan:
        """Drops what `plan_gc` lists: all that no kept snapshot uses."""
        with self._writing():
            manifest, plan = gc.collect_garbage(self.path, keep=keep)
        self._become(manifest)
        return plan

    def merge(self, *, most: int = merge.MOST_SMALL) -> merge.Merged:
        """Merges small shards where there are many; see `merge_small_shards`."""
        with self._writing():
            manifest, merged = merge.merge_small_shards(self.path, most=most)
        self._become(manifest)
        return merged

    def reload(self) -> bool:
        """Reads the manifest again, and tells whether others committed something."""
        if changed := (manifest := read_manifest(self.path)) != self.manifest:
            self._become(manifest)
        return changed

    def snapshots(self) -> tuple[SnapshotEntry, ...]:
        """Returns the snapshots; the latest of a dataset is the last one of it."""
        return self.manifest.snapshots

    def snapshot(
        self, dataset: str | None = None, digest: str | None = None
    ) -> Examples:
        """Returns the examples of a dataset's latest snapshot, or of a named one.

        Args:
          dataset: The dataset's name; may be left out if there is one.
          digest: The snapshot's digest, or its first digits.

        Raises:
          RequestError: Several datasets, none is named; or several have these digits.
          NotFoundError: There is no such snapshot.
          StoreDamagedError: Its file is not the committed one.
        """
        return read_settled(
            lambda: tables.read_snapshot(self._lookup, dataset, digest), self.reload
        )

    def read(
        self,
        feature: str,
        *,
        split: str | None = None,
        dataset: str | None = None,
        snapshot: str | Examples | None = None,
        view: View = PLAIN,
    ) -> Rows:
        """Reads a feature of a snapshot's examples.

        Examples that failed are left out, and listed.

        Args:
          feature: The feature's name.
          split: One split only.
          dataset: The dataset's name; may be left out if there is one.
          snapshot: Its digest, the first digits, or its examples; default: the latest.
          view: Which view.

        Raises:
          NotFoundError: There is no such feature or snapshot.
          RequestError: Several datasets, and none is named.
          StoreError: The snapshot has examples that were never computed.
          StoreDamagedError: A file is not the committed one.
        """
        tables.check_known(self._what, [feature], self.manifest.features)
        asked = feature, split, dataset, snapshot
        return read_settled(
            lambda: tables.read_split(self._lookup, *asked, view), self.reload
        )

    def rows(self, feature: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads all rows of a feature's plain view, whatever the dataset.

        Returns:
          [N, ...] features and their [N, 32] uint8 content digests.
        """
        tables.check_known(self._what, [feature], self.manifest.features)
        return read_settled(lambda: self._lookup.read_all(feature), self.reload)

    def oldest_rows(
        self,
        content: np.ndarray,
        features: Sequence[str],
        *,
        n: int = 8,
        view: View = PLAIN,
    ) -> ParitySample:
        """Picks a few stored rows, the oldest among them, to compare with live ones.

        Args:
          content: [N, 32] uint8, distinct digests of the examples at hand.
          features: Names of the features; those without such rows are left out.
          n: Rows of each feature: half of the oldest ones, half of the newest.
          view: Which view.
        """
        asked = content, list(features), n
        return read_settled(lambda: self._lookup.sample(*asked, view), self.reload)

    def failures(self) -> list[Failure]:
        """Returns the examples that gave no row, with reasons."""
        return failing.standing_failures(self.path, self.manifest)

    def has_parity(self) -> bool:
        """Tells whether parity records cover all shards."""
        covered = history.covered_shards(self.path)
        return covered.issuperset(shard.name for shard in self.manifest.shards)

    def versions(self, shard: str) -> dict[str, Json]:
        """Returns the library versions and platform that computed a shard's rows."""
        return read_settled(lambda: self._lookup.versions(shard), self.reload)

    def describe(self) -> dict[str, Json]:
        """Returns what the store holds, as plain data."""
        return describe_store(self.path, self.manifest, self.snapshot)

    def _become(self, manifest: Manifest) -> None:
        # Another process may have come first, with another classifier.
        schema.check_same_features(
            self._what, stored=manifest.features, wanted=self._declared
        )
        self._declared.update(manifest.features)
        self._lookup = Lookup(self.path, manifest, self._lookup)

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return writer.writing(self.path, locked=self._locked)


def open_store(
    path: str | Place, *, spec: Mapping[str, Json] | None = None
) -> FeatureStore:
    """Opens a feature store for reading; it takes no lock.

    Args:
      path: The store's folder.
      spec: The feature spec that its rows should be of, or None for any.

    Raises:
      NotFoundError: There is no store.
      SpecMismatchError: It was made with another spec; lists each field that differs.
      StoreDamagedError: Its manifest is not the committed one.
    """
    check_platform()
    path = find_place(path)
    manifest = read_manifest(path)
    if spec is not None:
        check_same_spec(f"Feature store {path}", stored=manifest.spec, wanted=spec)
    return FeatureStore(path, manifest)
