"""A folder's tree of files: one pass of `scandir`, names Unicode-normalized."""

import dataclasses
import os
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tl_pipeline.errors import DatasetError


@dataclasses.dataclass
class Folder:
    """What a folder holds, at any depth.

    Attributes:
      folders: Folders by NFC name, sorted; folders that normalize alike are one.
      files: (NFC name, path) of each file in it, sorted.
      hidden: How many hidden files and folders were passed over, here and below.
      special: How many pipes, devices and loops of links were passed over likewise.
    """

    folders: dict[str, "Folder"]
    files: list[tuple[str, str]]
    hidden: int = 0
    special: int = 0

    def walk(self) -> Iterator[tuple[str, str]]:
        """Yields (id within this folder, path) of each file at any depth."""
        yield from self.files
        for name, folder in self.folders.items():
            for id_, path in folder.walk():
                yield f"{name}/{id_}", path

    def split_off(self, covered: Callable[[str], bool]) -> tuple["Folder", int]:
        """Splits off what stands directly in this folder and is covered.

        Args:
          covered: Tells it from a name, which for folders ends in `/`.

        Returns:
          This folder without that, and how many files that has.
        """
        folders = {n: f for n, f in self.folders.items() if not covered(f"{n}/")}
        files = [(name, path) for name, path in self.files if not covered(name)]
        rest = dataclasses.replace(self, folders=folders, files=files)
        gone = [f for name, f in self.folders.items() if name not in folders]
        n_gone = sum(1 for folder in gone for _ in folder.walk())
        return rest, n_gone + len(self.files) - len(files)


def scan_tree(root: Path) -> Folder:
    """Lists a folder's files at any depth; links are followed.

    A link to nothing is listed as the file that it should be: that it cannot be read
    must show.

    Raises:
      DatasetError: A folder cannot be listed.
    """
    return _scan([os.fspath(root)], ancestors=frozenset())


def _scan(paths: Sequence[str], *, ancestors: frozenset[tuple[int, int]]) -> Folder:
    folders: dict[str, list[str]] = defaultdict(list)
    files: list[tuple[str, str]] = []
    hidden = special = 0
    for path in paths:
        try:
            here = os.stat(path)
            entries = list(os.scandir(path))
        except OSError as error:
            raise DatasetError(
                f"Asked for a dataset with the folder {path}: it cannot be listed, "
                f"{error.strerror}. Mend its permissions, or link it elsewhere."
            ) from None
        identity = (here.st_dev, here.st_ino)
        if identity in ancestors:
            special += 1
            continue
        ancestors = ancestors | {identity}
        for entry in entries:
            if entry.name.startswith("."):
                hidden += 1
            elif entry.is_dir():
                folders[_name(entry)].append(entry.path)
            elif entry.is_file() or _is_broken_link(entry):
                files.append((_name(entry), entry.path))
            else:
                special += 1
    inside = {
        name: _scan(same, ancestors=ancestors) for name, same in sorted(folders.items())
    }
    hidden += sum(folder.hidden for folder in inside.values())
    special += sum(folder.special for folder in inside.values())
    return Folder(inside, sorted(files), hidden, special)


def _name(entry: os.DirEntry[str]) -> str:
    if entry.name.isascii():
        return entry.name
    # A name that is no UTF-8 keeps its odd bytes as \xff: ids are text everywhere.
    text = os.fsencode(entry.name).decode("utf-8", errors="backslashreplace")
    return unicodedata.normalize("NFC", text)


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return False
    try:
        # A pipe or device would block its reader: no broken link, and no file.
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return True
