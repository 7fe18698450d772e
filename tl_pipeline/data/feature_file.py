"""Features that were made elsewhere: arrays of rows, and whose rows they are.

`.npz`, `.h5` and `.parquet` hold everything under names: floating arrays `[N, ...]`,
each a feature, and the columns `id`, `target`, `split`, `group`, `content_digest`, of
which none is a must (`store export` writes all). A `.npy` file is one feature, named
by its stem. Ids in a file of their own are one a line (`.txt`), or a `.csv` with the
same columns.
"""

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from tl_pipeline.errors import DatasetError, shorten
from tl_pipeline.hdf5 import read_dataset

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".parquet")
_COLUMNS = {
    "id": ("id", "ids"),
    "target": ("target", "targets", "label", "labels"),
    "split": ("split", "splits"),
    "group": ("group", "groups"),
    "content_digest": ("content_digest",),
}


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Rows of one or several features, in the order of their files.

    Attributes:
      features: [N, ...] floating arrays by feature name.
      columns: N texts each by column name; None where a row has none. Only the columns
        that were found.
      ignored: Names of arrays that are neither.
    """

    features: Mapping[str, np.ndarray]
    columns: Mapping[str, tuple[str | None, ...]]
    ignored: tuple[str, ...]

    def __len__(self) -> int:
        return len(next(iter(self.features.values())))


def load_feature_files(
    files: Sequence[Path],
    *,
    ids: Path | None = None,
    features: Sequence[str] | None = None,
) -> FeatureTable:
    """Reads features and columns; arrays of `.npy` files stay on disk until read.

    Args:
      files: One or several files with the same rows in the same order.
      ids: A file of ids, and perhaps of the other columns.
      features: Which arrays, each `NAME` or `NAME=FEATURE`; by default all that are
        floating and have at least two dimensions.

    Raises:
      DatasetError: A file cannot be read, holds no such array, or the files have not
        the same number of rows; a column has another length, or stands in two files.
    """
    found: dict[str, np.ndarray] = {}
    for file in files:
        for name, array in _load(file).items():
            if name in found:
                raise DatasetError(
                    f"Features {file}: {name!r} stands in another of the files too. "
                    "Import them one after the other, or rename one."
                )
            found[name] = array
    columns = _take_columns(found)
    chosen = _choose(found, features, files)
    counts = {name: len(array) for name, array in chosen.items()}
    if ids is not None:
        for name, values in _load_ids(ids).items():
            if name in columns:
                raise DatasetError(
                    f"Column {name!r} stands in {ids} and in the features' file: "
                    "leave one of them out."
                )
            columns[name] = values
    counts |= {f"column {name}": len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1 or not max(counts.values()):
        told = ", ".join(f"{name} {n:,}" for name, n in counts.items())
        raise DatasetError(
            f"Features {', '.join(map(str, files))} have rows: {told}. All must have "
            "as many, at least one, in the same order."
        )
    ignored = found.keys() - {part.partition("=")[0] for part in features or chosen}
    return FeatureTable(chosen, columns, tuple(sorted(ignored)))


def _choose(
    found: Mapping[str, np.ndarray],
    features: Sequence[str] | None,
    files: Sequence[Path],
) -> dict[str, np.ndarray]:
    usable = {
        name: array
        for name, array in found.items()
        if array.dtype.kind == "f" and array.ndim >= 2
    }
    shown = ", ".join(
        f"{name} {array.dtype} {list(array.shape)}" for name, array in found.items()
    )
    where = ", ".join(map(str, files))
    if not usable:
        raise DatasetError(
            f"Features {where} hold no floating array of rows, [N, D] or more; found "
            f"{shown or 'nothing'}."
        )
    if features is None:
        return usable
    chosen: dict[str, np.ndarray] = {}
    for part in features:
        name, _, renamed = part.partition("=")
        if name not in usable:
            raise DatasetError(
                f"Asked for {name!r} of {where}, which has no such floating array "
                f"[N, D] or more; found {shown}."
            )
        if (renamed or name) in chosen:
            raise DatasetError(f"Asked for the feature {renamed or name!r} twice.")
        chosen[renamed or name] = usable[name]
    return chosen


def _take_columns(found: dict[str, np.ndarray]) -> dict[str, tuple[str | None, ...]]:
    """Takes the arrays that are columns out of what was found."""
    columns: dict[str, tuple[str | None, ...]] = {}
    for column, names in _COLUMNS.items():
        for name in names:
            if name not in found or found[name].ndim != 1:
                continue
            if column in columns:
                raise DatasetError(
                    f"Features have the column {column!r} under two names, one of "
                    f"them {name!r}: keep one."
                )
            columns[column] = tuple(map(_text, found.pop(name).tolist()))
    return columns


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8")
    return None if value is None or value == "" else str(value)


def _load(file: Path) -> dict[str, np.ndarray]:
    loaders: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
        ".npz": _load_npz,
        ".npy": _load_npy,
        ".h5": _load_h5,
        ".hdf5": _load_h5,
        ".parquet": _load_parquet,
    }
    if file.suffix not in loaders:
        raise DatasetError(
            f"Asked to import {file}: the suffix says the format, and known are "
            f"{', '.join(SUFFIXES)}."
        )
    if not file.is_file():
        raise DatasetError(f"Asked to import {file}: there is no such file.")
    try:
        return loaders[file.suffix](file)
    except DatasetError:
        raise
    # What these libraries raise of a damaged file is as varied as the damage.
    except (Exception, MemoryError) as error:
        raise DatasetError(
            f"Features {file} cannot be read as {file.suffix}: {shorten(error)}. Write "
            "them anew; nothing in them may be pickled."
        ) from error


def _load_npz(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


def _load_npy(file: Path) -> dict[str, np.ndarray]:
    return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False)}


def _load_h5(file: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}

    def take(group: h5py.Group, prefix: str) -> None:
        for name in group:
            where = f"{prefix}{name}"
            # A link may lead out of the file, or round in circles.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise DatasetError(
                    f"Features {file}: {where} is a link. Copy its data into the file."
                )
            item = group[name]
            if isinstance(item, h5py.Dataset):
                _check_stored(file, where, item)
                arrays[where] = read_dataset(item)
            elif isinstance(item, h5py.Group) and prefix.count("/") < 4:
                take(item, f"{where}/")

    with h5py.File(file, "r") as opened:
        take(opened, "")
    return arrays


def _check_stored(file: Path, where: str, item: h5py.Dataset) -> None:
    """Raises where HDF5 would make up, or fetch from elsewhere, what is not there."""
    chunks = item.chunks
    if item.is_virtual or item.external:
        problem = "takes its data from elsewhere"
    elif item.shape is None or item.size == 0:
        problem = "is empty"
    elif chunks is not None and item.id.get_num_chunks() < int(
        np.prod([-(-n // c) for n, c in zip(item.shape, chunks, strict=True)])
    ):
        problem = "has chunks that were never written, which would read as zeros"
    elif chunks is None and item.id.get_storage_size() == 0:
        problem = "was never written, and would read as zeros"
    else:
        return
    raise DatasetError(
        f"Features {file}: dataset {where} {problem}. Write the rows into the file."
    )


def _load_parquet(file: Path) -> dict[str, np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays: dict[str, np.ndarray] = {}
    table = pq.read_table(file)
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            flat = column.flatten().to_numpy(zero_copy_only=False)
            arrays[name] = flat.reshape(len(column), column.type.list_size)
        elif pa.types.is_list(column.type):
            arrays[name] = np.stack(column.to_numpy(zero_copy_only=False))
        else:
            arrays[name] = np.array(column.to_pylist(), object)
    return arrays


def _load_ids(file: Path) -> dict[str, tuple[str | None, ...]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"Ids {file} cannot be read: {error}. Bring UTF-8 text: one id a line "
            "(.txt), or a table (.csv)."
        ) from error
    if file.suffix == ".txt":
        lines = text.removesuffix("\n").split("\n")  # an id may hold other separators
        return {"id": tuple(line.removesuffix("\r") or None for line in lines)}
    if file.suffix != ".csv":
        raise DatasetError(
            f"Ids {file}: the suffix says the format, and known are .txt, one id a "
            "line, and .csv with a column id."
        )
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except csv.Error as error:
        raise DatasetError(f"Ids {file} cannot be read as .csv: {error}.") from error
    names = reader.fieldnames or ()
    arrays = {
        name: np.array([row[name] for row in rows], object)
        for name in names
        if name is not None
    }
    columns = _take_columns(arrays)
    if "id" not in columns:
        raise DatasetError(
            f"Ids {file} lack the column id; found {', '.join(names) or 'none'}. The "
            "first line names the columns."
        )
    return columns
