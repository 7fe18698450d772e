"""Features by content digest: which shard holds a row, and reading it from there."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import NotFoundError, StoreDamagedError
from tl_pipeline.places import Place
from tl_pipeline.spec import PLAIN, View
from tl_pipeline.store.index import KeyIndex
from tl_pipeline.store.manifest import Manifest, ShardEntry
from tl_pipeline.store.reading import read_keys, read_rows, read_versions
from tl_pipeline.store.schema import SHARDS

T = TypeVar("T")


class ParityRows(NamedTuple):
    """Stored rows of one feature, to be compared with the same rows computed now.

    Attributes:
      places: [m] positions in the sample's `content`.
      values: [m, ...] the stored rows.
    """

    places: np.ndarray
    values: np.ndarray


class ParitySample(NamedTuple):
    """A few committed rows, the oldest among them.

    Attributes:
      content: [k, 32] uint8, distinct: the examples to compute again.
      stored: What is stored of them, by feature.
      shards: Names of the shards that they were read from.
    """

    content: np.ndarray
    stored: dict[str, ParityRows]
    shards: tuple[str, ...]


def read_settled(read: Callable[[], T], reload: Callable[[], bool]) -> T:
    """Reads; if a file is gone and the manifest has changed, reads again.

    A file is unlinked only after a manifest that does not name it. So one that is gone
    under an unchanged manifest is lost; else another writer came first, even twice.

    Args:
      read: Reads by the manifest at hand.
      reload: Reads the manifest again, and tells whether it has changed.

    Raises:
      StoreDamagedError: The manifest, as it is now, names a file that is not there.
    """
    while True:
        try:
            return read()
        except NotFoundError:  # a request for what is not in the store, no lost file
            raise
        except FileNotFoundError as error:
            if not reload():
                raise StoreDamagedError(
                    f"{error.filename} is not there, though the manifest names it. "
                    "Restore the file from a copy, or delete the store and extract "
                    "again."
                ) from error


class Lookup:
    """Finds and reads rows of one state of a store.

    Keys of shards, which never change, are passed on from state to state.
    """

    def __init__(self, path: Place, manifest: Manifest, older: "Lookup | None" = None):
        self.path = path
        self.manifest = manifest
        self._keys: dict[str, np.ndarray] = older._keys if older else {}
        self._indexes: dict[tuple[str, ...], KeyIndex] = {}

    def index(self, feature: str, view: View = PLAIN) -> KeyIndex:
        """Returns the index of the rows that hold a feature of a view.

        Raises:
          FileNotFoundError: A shard that the manifest names is not there.
          StoreDamagedError: A shard's digests are not the committed ones.
        """
        shards = self.manifest.shards_of(feature, view)
        names = tuple(shard.name for shard in shards)
        if names not in self._indexes:  # features of the same shards share one
            self._indexes[names] = KeyIndex(
                np.concatenate([np.empty((0, 32), np.uint8), *map(self.keys, shards)])
            )
        return self._indexes[names]

    def keys(self, shard: ShardEntry) -> np.ndarray:
        """Returns a shard's [rows, 32] content digests."""
        if shard.name not in self._keys:
            self._keys[shard.name] = read_keys(self.path / SHARDS / shard.name, shard)
        return self._keys[shard.name]

    def read(self, feature: str, places: np.ndarray, view: View = PLAIN) -> np.ndarray:
        """Reads rows at the places that the feature's index gave for them.

        One shard is in memory at a time, beside the result.

        Args:
          feature: The feature's name.
          places: [N] positions in the index, none of them -1.
          view: Which view.

        Returns:
          [N, ...] in the feature's dtype.

        Raises:
          FileNotFoundError: A shard that the manifest names is not there.
          StoreDamagedError: A shard is not the committed one.
        """
        info = self.manifest.features[feature]
        order = np.argsort(places, kind="stable")
        ordered = places[order]
        rows = None
        start = 0
        for shard in self.manifest.shards_of(feature, view):
            low, high = np.searchsorted(ordered, [start, start + shard.rows])
            if low < high:
                path = self.path / SHARDS / shard.name
                stored = read_rows(path, shard, feature, info)
                if rows is None:  # after the first check, not on a manifest's word
                    rows = np.empty((len(places), *info.shape), info.dtype)
                rows[order[low:high]] = stored[ordered[low:high] - start]
            start += shard.rows
        return np.empty((0, *info.shape), info.dtype) if rows is None else rows

    def read_all(self, feature: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads all rows of a feature's plain view: [N, ...] and [N, 32] digests."""
        content = self.index(feature).content
        return self.read(feature, np.arange(len(content))), content

    def versions(self, name: str) -> dict[str, Json]:
        """Reads the library versions and platform that computed a shard's rows."""
        shard = next(shard for shard in self.manifest.shards if shard.name == name)
        return read_versions(self.path / SHARDS / name, shard)

    def sample(
        self,
        content: np.ndarray,
        features: list[str],
        n: int,
        view: View = PLAIN,
    ) -> ParitySample:
        """Picks up to `n` rows of each feature: half of the oldest, half of the newest.

        Args:
          content: [N, 32] uint8 digests of the examples at hand.
          features: Names of the features.
          n: Rows of each feature.
          view: Which view.
        """
        at_hand = KeyIndex(content)
        picked: dict[str, np.ndarray] = {}
        sources: list[str] = []
        for feature in features:
            shards = self.manifest.shards_of(feature, view)
            usable = []
            for ordered in (shards, shards[::-1]):
                for shard in ordered:
                    keys = self.keys(shard)
                    keys = keys[at_hand.find(keys) >= 0]
                    if len(keys):
                        usable.append((shard.name, keys))
                        break
            if not usable:
                continue
            (first, oldest), (last, newest) = usable
            some = [oldest[: n - n // 2], newest[::-1][: n // 2]]
            picked[feature] = np.unique(np.concatenate(some), axis=0)
            sources += [first, last]
        union = np.unique(
            np.concatenate([np.empty((0, 32), np.uint8), *picked.values()]), axis=0
        )
        places = KeyIndex(union)
        return ParitySample(
            union,
            {
                feature: ParityRows(
                    places.find(keys),
                    self.read(feature, self.index(feature, view).find(keys), view),
                )
                for feature, keys in picked.items()
            },
            tuple(dict.fromkeys(sources)),
        )
