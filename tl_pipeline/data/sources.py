"""Datasets by name: the path of a folder, a table or arrays; or a built-in."""

import dataclasses
import difflib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from tl_pipeline.data.builtin import BUILTINS
from tl_pipeline.data.dataset import Dataset as Dataset
from tl_pipeline.data.dataset import Item as Item
from tl_pipeline.data.dataset import read_file
from tl_pipeline.data.exclusion import Exclusion
from tl_pipeline.data.folders import scan_folder
from tl_pipeline.data.object_reader import READERS, ObjectReader
from tl_pipeline.errors import DatasetError
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place, find_place, is_url

PREFIX = "builtin:"
TABLES = (".csv", ".parquet", ".jsonl")
ARRAYS = (".npz", ".h5")
# Names become parts of file names, which are at most 255 bytes.
MAX_NAME_BYTES = 100


def load_dataset(
    source: str | Path,
    *,
    name: str | None = None,
    exclude: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    targets: Sequence[str] = (),
    keep: Sequence[str] = (),
) -> Dataset:
    """Lists the examples of a dataset, without reading any of them.

    Args:
      source: A folder of class folders; a folder of `train`, `val` and `test` folders
        with class folders; a folder of files without labels; a table of files (of
        images, recordings or texts) or of texts (`.csv`, `.parquet`, `.jsonl`); images
        in a file of arrays (`.npz`, `.h5`); or `builtin:NAME`. All but arrays may also
        lie in a bucket, and are then named by their address, `s3://BUCKET/KEY`.
      name: What stores and reports call it; by default the folder's, file's or
        built-in's name.
      exclude: Shell patterns of ids to leave out; `*` also crosses `/`.
      columns: Of a table or arrays, which column or array is the `path` (of arrays:
        the images), `text`, `target`, `split`, `group` and `id`, where it has another
        than the conventional name.
      targets: Of a table or arrays, the columns of the targets where they are several.
      keep: Of a table or arrays, further columns to keep: weights, what slices are by.

    Returns:
      The dataset; its notes are sentences for the user.

    Raises:
      ConfigError: `columns` names another role.
      DatasetError: There is no such dataset, it has no examples, an empty class or rows
        that cannot be used, or its name cannot be part of a file name.
      BucketError: Its bucket is not there, or refuses.
      ServerError: Its bucket's server cannot be reached.

    Example:
      >>> load_dataset("builtin:digits").items[0].id
      '0/0000'
    """
    text = os.fspath(source)
    exclusion = Exclusion([exclude] if isinstance(exclude, str) else exclude)
    if text.startswith(PREFIX):
        dataset = _load_builtin(text)
        kept = [item for item in dataset.items if not exclusion.matches(item.id)]
        dataset = dataclasses.replace(dataset, items=tuple(kept))
        sample = "0/0000"
        _refuse_columns([*(columns or ()), *targets, *keep], text)
    elif is_url(text):
        dataset, sample = _load_objects(
            find_place(text), exclusion, columns or {}, targets=targets, keep=keep
        )
    elif is_tabular(text):
        dataset, sample = _load_tabular(
            text, exclusion, columns or {}, targets=targets, keep=keep
        )
    else:
        _refuse_columns([*(columns or ()), *targets, *keep], text)
        folder = _find_folder(text)
        listing = scan_folder(folder, exclusion)
        dataset = Dataset(
            name=unicodedata.normalize("NFC", folder.resolve().name),
            source=text,
            items=listing.items,
            notes=listing.notes,
            carve_val=listing.carve_val,
        )
        sample = listing.sample
    if not dataset.items:
        raise DatasetError(
            f"Asked for the dataset {text} without what matches {list(exclude)}: "
            f"that leaves none of its {exclusion.count} examples. Narrow `exclude`."
        )
    name = dataset.name if name is None else name
    _check_name(name, source=text)
    notes = (*dataset.notes, *exclusion.notes(sample))
    return dataclasses.replace(
        dataset, name=name, notes=notes, roles=dict(columns or {})
    )


def has_same_columns(source: str | Path, other: str | Path) -> bool:
    """Tells whether columns of one source can be those of another, by their suffixes.

    So it is of two tables, and of two files of arrays.
    """
    suffixes = [os.path.splitext(os.fspath(one))[1].lower() for one in (source, other)]
    return any(all(s in kind for s in suffixes) for kind in (TABLES, ARRAYS))


def is_tabular(source: str | Path) -> bool:
    """Tells whether a source is a local file that lists examples: table, or arrays."""
    path = Path(source).expanduser()
    return path.suffix.lower() in TABLES + ARRAYS and path.is_file()


def _load_tabular(
    text: str,
    exclusion: Exclusion,
    columns: Mapping[str, str],
    *,
    targets: Sequence[str],
    keep: Sequence[str],
) -> tuple[Dataset, str]:
    """Loads a table or arrays, and a sample of its ids."""
    path = Path(os.path.abspath(Path(text).expanduser()))
    further = {"targets": targets, "keep": keep}
    # Their libraries take a tenth of a second to load, which folders need not wait for.
    if path.suffix.lower() in TABLES:
        from tl_pipeline.data.tables import list_table

        listing = list_table(path, exclusion, columns, **further)
    else:
        from tl_pipeline.data.image_arrays import list_arrays

        listing = list_arrays(path, exclusion, columns, **further)
    dataset = Dataset(
        name=unicodedata.normalize("NFC", path.stem),
        source=text,
        items=listing.items,
        notes=listing.notes,
        carve_val=listing.carve_val,
        column_names=listing.column_names,
        holds=listing.holds,
        reader=listing.reader or read_file,
    )
    return dataset, listing.sample


def _load_objects(
    place: Place,
    exclusion: Exclusion,
    columns: Mapping[str, str],
    *,
    targets: Sequence[str],
    keep: Sequence[str],
) -> tuple[Dataset, str]:
    """Loads a folder or table in a bucket, and a sample of its ids."""
    assert isinstance(place, ObjectPath)
    suffix, stem = place.suffix.lower(), place.name
    if suffix in TABLES and place.is_file():
        from tl_pipeline.data.tables import list_table

        listing = list_table(place, exclusion, columns, targets=targets, keep=keep)
        stem = place.stem
    elif not place.is_dir():
        there = "it is one object" if place.is_file() else "nothing lies there"
        raise DatasetError(
            f"Asked for the dataset {place}: {there}. Name what the examples lie "
            f"below, in class folders, or a table ({', '.join(TABLES)}); arrays "
            f"({', '.join(ARRAYS)}) and archives are read from a local disk only."
        )
    else:
        _refuse_columns([*columns, *targets, *keep], str(place))
        listing = scan_folder(place, exclusion)
    dataset = Dataset(
        name=unicodedata.normalize("NFC", stem),
        source=str(place),
        items=listing.items,
        notes=listing.notes,
        carve_val=listing.carve_val,
        column_names=listing.column_names,
        holds=listing.holds,
        reader=listing.reader or ObjectReader(),
        stamps=listing.stamps,
        readers=READERS,
    )
    return dataset, listing.sample


def _refuse_columns(columns: Sequence[str], text: str) -> None:
    if columns:
        raise DatasetError(
            f"Asked for the dataset {text} with the columns {', '.join(columns)}: only "
            f"a table ({', '.join(TABLES)}) or arrays ({', '.join(ARRAYS)}) have some. "
            "Leave them out, or name such a file."
        )


def _load_builtin(text: str) -> Dataset:
    if text in BUILTINS:
        return BUILTINS[text]()
    close = difflib.get_close_matches(text, BUILTINS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise DatasetError(
        f"Asked for the dataset {text}; the built-in ones are {', '.join(BUILTINS)}."
        f"{hint}"
    )


def _find_folder(text: str) -> Path:
    folder = Path(text).expanduser()
    if text.strip() and folder.is_dir():
        return Path(os.path.abspath(folder))
    if folder.is_file():
        raise DatasetError(
            f"Asked for the dataset {text}: it is a file, and neither a table "
            f"({', '.join(TABLES)}) nor arrays ({', '.join(ARRAYS)}). Name one of "
            "those, or the folder with the examples in class folders; unpack it first "
            "if it is an archive."
        )
    raise DatasetError(
        f"Asked for the dataset {text!r}: there is no such folder or file."
        f"{_hint(text, folder)} Name a folder, a table, arrays, or one of "
        f"{', '.join(BUILTINS)}."
    )


def _hint(text: str, folder: Path) -> str:
    """Suggests what has a like name beside it, or a built-in without its prefix."""
    if PREFIX + text in BUILTINS:
        return f" Did you mean {PREFIX}{text}?"
    try:
        beside = [
            path.name
            for path in folder.parent.iterdir()
            if path.is_dir() or is_tabular(path)
        ]
    except OSError:
        return ""
    close = difflib.get_close_matches(folder.name, beside, n=1)
    return f" Did you mean {folder.parent / close[0]}?" if close else ""


def _check_name(name: str, *, source: str) -> None:
    fits = (
        name.isprintable()
        and not set(name) & set("/\\")
        and not name.startswith(".")
        and 0 < len(name.encode(errors="replace")) <= MAX_NAME_BYTES
    )
    if not fits:
        raise DatasetError(
            f"Asked to call the dataset {source} {name!r}: a name becomes part of file "
            "names. Choose one of 1 to 100 printable characters, without slashes and "
            "not beginning with a dot."
        )
