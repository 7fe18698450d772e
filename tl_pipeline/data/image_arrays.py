"""Arrays of images as datasets: `.npz` and `.h5` with `images` and their targets.

`images` is uint8 [N, H, W] or [N, H, W, C] with C of 1, 3 or 4; `targets`, `ids`,
`splits` and `groups` have one value an image, whole numbers or text. The id is the
place in the array, from 00000000, unless an array gives another.
"""

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.data.array_files import (
    ArrayFile,
    UnreadableArrays,
    open_arrays,
    read_labels,
)
from tl_pipeline.data.dataset import Item
from tl_pipeline.data.exclusion import Exclusion
from tl_pipeline.data.folders import Listing, note_splits
from tl_pipeline.data.labels import Labels, check_ids, normalize_id, settle_splits
from tl_pipeline.data.npy import write_npy
from tl_pipeline.data.problems import Problems
from tl_pipeline.data.roles import ARRAY_NAMES, find_kept, find_roles, join_targets
from tl_pipeline.data.stat_cache import Stamp, stamp_file
from tl_pipeline.errors import DatasetError

RECIPE_VERSION = 1  # change it with anything that changes an example's bytes
_ADVICE = (
    "Needed is `images`, uint8 [N, H, W] or [N, H, W, C], and what there is of "
    "`targets`, `ids`, `splits`, `groups`, [N] whole numbers or text. Rows count from "
    "1."
)


def list_arrays(
    path: Path,
    exclusion: Exclusion,
    names: Mapping[str, str],
    *,
    targets: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Listing:
    """Lists the images of a file of arrays.

    Args:
      path: The file, absolute.
      exclusion: Which ids to leave out.
      names: Names of arrays by role, where they are not the conventional ones.
      targets: The arrays of the targets, where they are several.
      keep: Further arrays to keep.

    Returns:
      The listing; an item's bytes are one row, as a `.npy` file.

    Raises:
      ConfigError: `names` names a role that there is not.
      DatasetError: The file cannot be read, lacks the images, or holds something else;
        all of that is in one message.
    """
    problems = Problems(f"The file of arrays {path}")
    try:
        stamp = stamp_file(path)
        file = open_arrays(path)
        roles = find_roles(
            list(file.arrays), names, known=ARRAY_NAMES, kind="array", problems=problems
        )
        if targets:
            roles.pop("target", None)
        further = tuple(dict.fromkeys((*targets, *keep)))
        find_kept(list(file.arrays), further, kind="array", problems=problems)
        problems.check(advice=_ADVICE)
        images = roles.pop("path")
        shape, dtype = file.arrays[images]
        _check_images(images, shape, dtype, problems)
        problems.check(advice=_ADVICE)
        n = shape[0]
        texts = _read_texts(file, roles, n, problems)
        columns = _read_texts(file, {k: k for k in further}, n, problems)
        if targets and columns.keys() == set(further):
            texts["target"] = join_targets([columns[name] for name in targets])
            roles["target"] = ", ".join(targets)
        read_row = file.rows(images)
    except (UnreadableArrays, OSError) as error:
        raise DatasetError(
            f"The file of arrays {path} cannot be read: {error}. Save it anew, with "
            "`np.savez` or h5py."
        ) from error
    ids = texts.get("id") or [f"{i:08d}" for i in range(n)]
    ids = [id_ and normalize_id(id_) for id_ in ids]
    kept = [i for i in range(n) if not exclusion.matches(ids[i] or "")]
    labels = Labels(
        [i + 1 for i in kept],
        [ids[i] for i in kept],
        *(
            [texts[role][i] if role in texts else None for i in kept]
            for role in ("target", "split", "group")
        ),
    )
    check_ids(labels, problems)
    settled = settle_splits(labels, problems)
    problems.check(advice=_ADVICE)
    items = [
        Item(
            id_,
            str(path),
            _member(images, row),
            target,
            split,
            group,
            tuple(columns[name][row - 1] for name in further),
        )
        for row, id_, target, split, group in zip(
            *(labels.rows, labels.ids, labels.targets, settled.splits, labels.groups),
            strict=True,
        )
        if id_ is not None
    ]
    items.sort(key=lambda item: item.id)

    notes = [f"Images {list(shape)} from `{images}`."]
    notes += [f"Every {role} from `{name}`." for role, name in roles.items()]
    if "target" not in roles:
        notes.append("No targets: all examples are unlabeled.")
    notes += [*settled.notes, *note_splits(items)]
    sample = items[0].id if items else ""
    return Listing(
        tuple(items),
        tuple(notes),
        settled.carve_val,
        sample,
        further,
        holds="images",
        reader=RowReader(path, images, stamp, read_row),
    )


def _member(images: str, row: int) -> str:
    return f"npy v{RECIPE_VERSION} of {images} row {row}"


class RowReader:
    """Reads one image of a file of arrays; it opens the file anew where it is sent."""

    def __init__(
        self,
        path: Path,
        images: str,
        stamp: Stamp,
        read_row: Callable[[int], np.ndarray] | None = None,
    ):
        """Takes the file, the array, what the file was like, and what reads a row."""
        self._asked = path, images, stamp
        self._lock = threading.Lock()
        self._read_row = read_row

    def __reduce__(self) -> tuple[Any, ...]:
        return RowReader, self._asked

    def __call__(self, item: Item) -> bytes:
        """Returns one row as a `.npy` file.

        Raises:
          OSError: It cannot be read, or the file is not the one that was listed.
        """
        try:
            # The rows that were listed, or none: not those of another file since.
            self._check_unchanged()
            image = self._open()(int(item.member.rpartition(" ")[2]) - 1)
            self._check_unchanged()
            return write_npy(image)
        except OSError:
            raise
        except Exception as error:  # whatever a damaged file raises
            raise OSError(f"{os.path.basename(item.file)}: {error}") from error

    def _open(self) -> Callable[[int], np.ndarray]:
        path, images, _ = self._asked
        with self._lock:
            if self._read_row is None:
                self._read_row = open_arrays(path).rows(images)
            return self._read_row

    def _check_unchanged(self) -> None:
        path, _, stamp = self._asked
        if stamp_file(path) != stamp:
            raise OSError("the file of arrays changed after it was listed")


def _check_images(
    name: str, shape: tuple[int, ...], dtype: np.dtype, problems: Problems
) -> None:
    found = f"the array {name!r} is {dtype} {list(shape)}"
    if len(shape) == 2:
        problems.add_sentence(
            f"{found}: one row of numbers an example, which is no image. If they are "
            "features computed elsewhere, `tl-pipeline store import` is for them"
        )
    elif len(shape) not in (3, 4):
        problems.add_sentence(f"{found}: no array of images")
    elif len(shape) == 4 and shape[3] not in (1, 3, 4):
        first = shape[1] in (1, 3, 4)
        hint = "; move the channels last, as [N, H, W, C]" if first else ""
        problems.add_sentence(f"{found}: C is not 1, 3 or 4{hint}")
    elif dtype != np.uint8:
        problems.add_sentence(f"{found}: scale the values to 0..255 and save as uint8")
    elif not all(shape):
        problems.add_sentence(f"{found}: it has no pixels")


def _read_texts(
    file: ArrayFile, roles: Mapping[str, str], n: int, problems: Problems
) -> dict[str, list[str | None]]:
    """Returns N texts by role; None where one is empty."""
    texts: dict[str, list[str | None]] = {}
    for role, name in roles.items():
        shape, dtype = file.arrays[name]
        is_text = dtype.kind in "USO"
        kinds = "iubf" if role in ("target", name) else "iub"
        if shape != (n,) or not (is_text or dtype.kind in kinds):
            number = "number" if "f" in kinds else "whole number"
            problems.add_sentence(
                f"the array {name!r} is {dtype} {list(shape)}; needed is one {number} "
                f"or text an image, [{n}]"
            )
            continue
        values = read_labels(file, name)
        try:
            texts[role] = [_text(value) or None for value in values.tolist()]
        except UnicodeDecodeError as error:
            problems.add_sentence(f"the array {name!r} is no UTF-8: {error}")
    return texts


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):  # NaN is missing; a whole number is one
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
