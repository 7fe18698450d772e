"""Folders of files as datasets: class folders, split folders, or no labels at all.

    photos/CLASS/...                     split by content
    photos/{train,val,test}/CLASS/...    split as the folders say
    photos/...                           unlabeled

Hidden files are ignored; every other file in a class folder, at any depth, is an
example, also one that turns out to be no image, text or recording: what cannot be used
must show.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from tl_pipeline.data.dataset import Item
from tl_pipeline.data.exclusion import Exclusion
from tl_pipeline.data.object_listing import scan_objects
from tl_pipeline.data.object_reader import ObjectReader
from tl_pipeline.data.scanning import Folder, scan_tree
from tl_pipeline.data.stat_cache import Stamp
from tl_pipeline.errors import DatasetError
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place

SPLIT_OF = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
SAME_SUFFIX = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif"}
SHOWN = 5  # names listed in a sentence


class Listing(NamedTuple):
    """What a folder holds.

    Attributes:
      items: The examples, sorted by id, without the excluded ones.
      notes: Sentences for the user.
      carve_val: Whether validation is to be carved from train.
      sample: An id, to show what ids look like.
      column_names: Further columns that the items have.
      holds: As `Dataset.holds`.
      reader: As `Dataset.reader`; None for whole files.
      stamps: As `Dataset.stamps`.
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...]
    carve_val: bool
    sample: str
    column_names: tuple[str, ...] = ()
    holds: str = ""
    reader: Callable[[Item], bytes] | None = None
    stamps: Mapping[str, Stamp] = MappingProxyType({})


def scan_folder(root: Place, exclusion: Exclusion) -> Listing:
    """Lists a folder's examples; see the module's docstring for the layouts.

    Raises:
      DatasetError: The folder cannot be listed, holds no examples or an empty class,
        or looks like splits and is not laid out so.
    """
    stamps: Mapping[str, Stamp] = {}
    if isinstance(root, ObjectPath):
        tree, stamps = scan_objects(root)
    else:
        tree = scan_tree(root)
    top, n_covered = tree.split_off(exclusion.covers)
    exclusion.count += n_covered
    notes: list[str] = []
    carve_val = False
    if _is_split_layout(root, top):
        splits, carve_val, note = _name_splits(root, top)
        notes += [note] if note else []
        parts = [(split, f"{name}/", top.folders[name]) for name, split in splits]
    else:
        parts = [(None, "", top)]
    items: list[Item] = []
    for split, prefix, folder in parts:
        if folder.folders:
            notes += _note_strays(folder, where=prefix or "the dataset's folder")
            notes += _note_nesting(folder) if split is None else []
            items += _list_classes(root, folder, prefix, split, exclusion)
        elif split is not None:
            raise DatasetError(
                f"Asked for the dataset {root}, with a folder for each split: "
                f"{root / prefix} holds no class folders. Sort its files into one "
                "folder a class, or name a folder of files to have them unlabeled."
            )
        else:
            items += [Item(id_, path) for id_, path in folder.walk()]
            if items:
                notes.append(f"No class folders: all {len(items)} files are unlabeled.")
    if not items and not n_covered:
        raise DatasetError(
            f"Asked for the dataset {root}: the folder holds no examples"
            f"{_but_ignored(tree)}. Put the files of each class in a folder of its own."
        )
    _check_ids(root, items)
    kept = [item for item in items if not exclusion.matches(item.id)]
    kept.sort(key=lambda item: item.id)
    notes += _note_ignored(tree) + note_splits(kept) + _note_odd_suffixes(kept)
    sample = items[0].id if items else ""
    reader = ObjectReader() if isinstance(root, ObjectPath) else None
    return Listing(
        tuple(kept), tuple(notes), carve_val, sample, reader=reader, stamps=stamps
    )


def _is_split_layout(root: Place, top: Folder) -> bool:
    """Tells whether the folders are splits: exactly their names, nothing beside them.

    Classes may be called `train`. Splits with something beside them would be taken
    for classes, which nobody would see from the outside: that is an error.
    """
    named = [name for name in top.folders if name in SPLIT_OF]
    others = [name for name in top.folders if name not in SPLIT_OF]
    if not others and not top.files:
        return bool(named)
    looks_so = len(named) > 1 and all(
        top.folders[name].folders and not top.folders[name].files for name in named
    )
    if not looks_so:
        return False
    beside = [f"{name}/" for name in others] + [name for name, _ in top.files]
    splits = _enumerate(f"{name}/" for name in named)
    raise DatasetError(
        f"Asked for the dataset {root}: {splits} look like splits, "
        f"but {_enumerate(beside)} stand{'s' * (len(beside) == 1)} beside "
        "them. Move what is no split elsewhere, or leave it out with `exclude`."
    )


def _name_splits(
    root: Place, top: Folder
) -> tuple[list[tuple[str, str]], bool, str | None]:
    """Returns (folder's name, split) pairs, whether to carve val, and a note on it."""
    splits = {name: SPLIT_OF[name] for name in sorted(top.folders)}
    count = Counter(splits.values())
    if count["val"] > 1:
        names = [name for name, split in splits.items() if split == "val"]
        raise DatasetError(
            f"Asked for the dataset {root}: {_enumerate(names)} all name the "
            "validation split. Keep one of them."
        )
    if not count["train"] or len(splits) == 1:
        raise DatasetError(
            f"Asked for the dataset {root}: of the splits it holds "
            f"{_enumerate(splits)} only. Add the others, or name "
            f"{root / next(iter(splits))} itself to split that by content."
        )
    if count["val"] and not count["test"]:
        held_out = next(name for name, split in splits.items() if split == "val")
        splits[held_out] = "test"
        note = f"`{held_out}` is used as the test split; validation is carved from "
        return list(splits.items()), True, note + "`train`."
    if not count["val"]:
        note = "There is no validation split; it is carved from `train`."
        return list(splits.items()), True, note
    return list(splits.items()), False, None


def _list_classes(
    root: Place, folder: Folder, prefix: str, split: str | None, exclusion: Exclusion
) -> Iterator[Item]:
    empty = []
    for name, inside in folder.folders.items():
        files = list(inside.walk())
        for id_, path in files:
            yield Item(f"{prefix}{name}/{id_}", path, "", name, split)
        if not files and not exclusion.covers(f"{prefix}{name}/"):
            empty.append(f"{prefix}{name}")
    if empty:
        raise DatasetError(
            f"Asked for the dataset {root}: its class folder"
            f"{'s' * (len(empty) > 1)} {_enumerate(empty)} hold"
            f"{'s' * (len(empty) == 1)} no files. Fill or remove "
            f"{'it' if len(empty) == 1 else 'them'}, or leave out with `exclude`."
        )


def _check_ids(root: Place, items: Sequence[Item]) -> None:
    count = Counter(item.id for item in items)
    twice = [id_ for id_, n in count.items() if n > 1]
    if twice:
        raise DatasetError(
            f"Asked for the dataset {root}: {_enumerate(map(repr, sorted(twice)))} "
            "stand there more than once, in names that differ in their Unicode form "
            "only. Rename all but one."
        )


def _note_ignored(tree: Folder) -> list[str]:
    """Says how many entries are no examples."""
    kinds = {
        "hidden files or folders": tree.hidden,
        "pipes, devices or looping links": tree.special,
    }
    return [f"Ignored {n} {kind}." for kind, n in kinds.items() if n]


def _but_ignored(tree: Folder) -> str:
    notes = " ".join(_note_ignored(tree))
    return f" ({notes.rstrip('.').lower()})" if notes else ""


def _note_strays(folder: Folder, *, where: str) -> list[str]:
    if not folder.files:
        return []
    names = _enumerate(name for name, _ in folder.files)
    return [f"Ignored what stands beside the class folders in {where}: {names}."]


def _note_nesting(folder: Folder) -> list[str]:
    """Points at class folders that look like splits under other names."""
    holders = [
        (name, tuple(inside.folders))
        for name, inside in folder.folders.items()
        if len(inside.folders) > 1 and not inside.files
    ]
    alike = [name for name, inside in holders if inside == holders[0][1]]
    if len(alike) < 2 or len(alike) < len(folder.folders):
        return []
    return [
        f"{_enumerate(alike)} are taken as classes, and each holds the folders "
        f"{_enumerate(holders[0][1])}: if they are splits, name them train, val, test."
    ]


def note_splits(items: Sequence[Item]) -> list[str]:
    """Returns a sentence on each split that lacks a class."""
    classes: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.split is not None and item.target is not None:
            classes[item.split].add(item.target)
    every = set().union(*classes.values())
    return [
        f"Split {split} has no examples of {_enumerate(sorted(every - names))}."
        for split, names in sorted(classes.items())
        if every - names
    ]


def _note_odd_suffixes(items: Sequence[Item]) -> list[str]:
    """Lists the few files of another kind than nearly all the others."""
    ids: dict[str, list[str]] = defaultdict(list)
    for item in items:
        suffix = os.path.splitext(item.id)[1].lower()
        ids[SAME_SUFFIX.get(suffix, suffix)].append(item.id)
    if not ids:
        return []
    usual = max(ids, key=lambda suffix: len(ids[suffix]))
    few = max(1, len(items) // 100)
    if len(ids[usual]) < 0.9 * len(items):
        return []
    return [
        f"{len(odd)} of {len(items)} files {'is' if len(odd) == 1 else 'are'} "
        f"{suffix or 'without a suffix'}, unlike the {len(ids[usual])} "
        f"{usual or 'without one'}: {_enumerate(odd)}."
        for suffix, odd in sorted(ids.items())
        if suffix != usual and len(odd) <= few
    ]


def _enumerate(names: Iterable[str]) -> str:
    """Lists a few names, and says how many more there are."""
    known = list(names)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more
