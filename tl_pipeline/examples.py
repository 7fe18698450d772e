"""The table of examples: ids, content digests, targets, splits and groups.

A split is a function of an example's group or content alone. Adding, renaming, moving
or relabeling examples therefore never moves another one across the border, and files
with the same bytes always stand on the same side.
"""

import dataclasses
import hashlib
import itertools
import operator
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from tl_pipeline.digest import json_digest
from tl_pipeline.errors import ConfigError

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class Examples:
    """Examples of one dataset, sorted by id.

    Attributes:
      dataset: The dataset's name.
      ids: N ids, unique and sorted.
      content: [N, 32] uint8, SHA-256 of each example's bytes.
      targets: N class names; None where an example is unlabeled.
      splits: N of `"train"`, `"val"`, `"test"`.
      groups: N group names; None where an example belongs to no group.
      columns: Further columns of N texts by name, sorted by name: targets where there
        are several, weights, what slices are by. None where a text is missing.
    """

    dataset: str
    ids: tuple[str, ...]
    content: np.ndarray
    targets: tuple[str | None, ...]
    splits: tuple[str, ...]
    groups: tuple[str | None, ...]
    columns: Mapping[str, tuple[str | None, ...]] = dataclasses.field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        n = len(self.ids)
        assert self.content.shape == (n, 32), self.content.shape
        assert self.content.dtype == np.uint8
        assert len(self.targets) == len(self.splits) == len(self.groups) == n
        assert is_sorted_set(self.ids)
        assert is_sorted_set(tuple(self.columns))
        assert all(len(column) == n for column in self.columns.values())

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> tuple[str, ...]:
        """The distinct targets, sorted; numbers by value, so 10 comes after 9."""
        names = {target for target in self.targets if target is not None}
        if all(name.isdecimal() for name in names):
            return tuple(sorted(names, key=lambda name: (int(name), name)))
        return tuple(sorted(names))

    @property
    def digest(self) -> str:
        """SHA-256 of the whole table: the snapshot's identity."""
        rows = hashlib.sha256(self.content.tobytes()).hexdigest()
        columns = {"columns": dict(self.columns)} if self.columns else {}
        return json_digest(
            {
                "dataset": self.dataset,
                "ids": self.ids,
                "content": rows,
                "targets": self.targets,
                "splits": self.splits,
                "groups": self.groups,
                **columns,
            }
        )

    def hex_digests(self) -> list[str]:
        """The N content digests as 64 hexadecimal digits each."""
        return [row.tobytes().hex() for row in self.content]

    def take(self, rows: Sequence[int] | np.ndarray) -> "Examples":
        """Returns some of the examples, in table order."""
        places = np.sort(np.asarray(rows, np.int64))
        kept = places.tolist()
        return Examples(
            self.dataset,
            tuple([self.ids[i] for i in kept]),
            self.content[places].reshape(-1, 32),
            tuple([self.targets[i] for i in kept]),
            tuple([self.splits[i] for i in kept]),
            tuple([self.groups[i] for i in kept]),
            {
                name: tuple([column[i] for i in kept])
                for name, column in self.columns.items()
            },
        )


def is_sorted_set(ids: Sequence[str]) -> bool:
    """Tells whether ids are sorted and none stands twice."""
    return all(map(operator.lt, ids, itertools.islice(ids, 1, None)))


def find_duplicates(examples: Examples) -> list[list[str]]:
    """Lists the ids that share their bytes, as groups of two or more, sorted."""
    return [ids for ids, _, _ in _shared_content(examples)]


def find_conflicts(examples: Examples) -> list[list[str]]:
    """Lists the groups of ids that share their bytes but not their target."""
    return [ids for ids, targets, _ in _shared_content(examples) if len(targets) > 1]


def find_leaks(examples: Examples) -> list[list[str]]:
    """Lists the groups of ids that share their bytes but not their split."""
    return [ids for ids, _, splits in _shared_content(examples) if len(splits) > 1]


def split_share(key: bytes) -> float:
    """Maps a key to a number that is uniform on [0, 1) over keys.

    The key is hashed once more, with a name of its own, so that the share is
    independent of every other use of the same digest.
    """
    head = hashlib.sha256(b"tl_pipeline split\0" + key).digest()[:8]
    return int.from_bytes(head, "big") / 2**64


def assign_split(
    given: str | None,
    *,
    content: bytes,
    group: str | None,
    val_size: float,
    test_size: float,
    carve_val: bool,
) -> str:
    """Returns an example's split: the data's own, else by group, else by content.

    Args:
      given: The split that the data names, or None.
      content: The example's 32-byte content digest.
      group: The example's group, which never spans splits, or None.
      val_size: Share of validation, of what is split here, in [0, 1).
      test_size: Share of test, of what has no split of its own, in [0, 1).
      carve_val: Whether the data names train and test but no validation, so that
        validation is carved from its train examples.
    """
    key = content if group is None else b"group\0" + group.encode()
    if given is not None:
        carved = carve_val and given == "train" and split_share(key) < val_size
        return "val" if carved else given
    share = split_share(key)
    if share < test_size:
        return "test"
    return "val" if share < test_size + val_size else "train"


def check_split_sizes(val_size: float, test_size: float) -> None:
    """Raises `ConfigError` unless both shares are in [0, 1) and leave some train."""
    if min(val_size, test_size) < 0 or val_size + test_size >= 1:
        raise ConfigError(
            f"Asked for val_size = {val_size} and test_size = {test_size}: each must "
            "be at least 0, and together they must leave something to train on."
        )


def _shared_content(
    examples: Examples,
) -> list[tuple[list[str], set[str | None], set[str]]]:
    rows: dict[bytes, list[int]] = defaultdict(list)
    for row, content in enumerate(examples.content):
        rows[content.tobytes()].append(row)
    return [
        (
            [examples.ids[i] for i in same],
            {examples.targets[i] for i in same},
            {examples.splits[i] for i in same},
        )
        for same in rows.values()
        if len(same) > 1
    ]
