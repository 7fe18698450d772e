"""Snapshots: the example table that a run saw, as an HDF5 file.

One row an example, in order of id. HDF5 has no absent text, so `/labeled` and
`/grouped` tell a missing target or group from an empty name. Where the dataset has
further columns, `/column_name` names those of `/column`, and `/filled` tells a missing
text from an empty one.
"""

import io
from collections.abc import Sequence

import h5py
import numpy as np

from tl_pipeline.digest import bytes_digest, short_digest
from tl_pipeline.errors import DatasetError, StoreDamagedError
from tl_pipeline.examples import SPLITS, Examples, is_sorted_set
from tl_pipeline.places import Place
from tl_pipeline.spec import SCHEMA_VERSION
from tl_pipeline.store.manifest import SnapshotEntry
from tl_pipeline.store.reading import parsed, read_table
from tl_pipeline.store.schema import CONTENT, add_dataset, add_text, file_stem


def build_snapshot(examples: Examples) -> tuple[memoryview, SnapshotEntry]:
    """Builds the file of an example table. The same table gives the same bytes.

    Raises:
      DatasetError: A text holds a zero byte, which HDF5 takes for its end.
    """
    digest = examples.digest
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["schema"] = SCHEMA_VERSION
        add_text(
            file,
            "description",
            "A snapshot, written by tl-pipeline: the examples of a dataset, one a row, "
            "with the targets and splits of one moment. Their features are in the "
            f"files of the folder shards, beside this one, by /{CONTENT}.",
        )
        add_text(file, "dataset", examples.dataset)
        add_text(file, "digest", digest)
        add_dataset(file, "id", _to_text("id", examples.ids), "The example's id")
        add_dataset(file, CONTENT, examples.content, "SHA-256 of the example's bytes")
        add_dataset(
            file,
            "target",
            _to_text("target", examples.targets),
            "The example's class; empty where `labeled` is 0",
        )
        add_dataset(
            file,
            "split",
            _to_text("split", examples.splits),
            "train, val or test",
        )
        add_dataset(
            file,
            "group",
            _to_text("group", examples.groups),
            "Examples of a group are never split; empty where `grouped` is 0",
        )
        for name, what, values in (
            ("labeled", "target", examples.targets),
            ("grouped", "group", examples.groups),
        ):
            present = np.array([value is not None for value in values], np.uint8)
            add_dataset(
                file, name, present, f"1 where the example has a {what}, else 0"
            )
        if examples.columns:
            _add_columns(file, examples)
    data = buffer.getbuffer()
    entry = SnapshotEntry(
        dataset=examples.dataset,
        digest=digest,
        name=f"{file_stem(examples.dataset)}-{short_digest(digest)}.h5",
        rows=len(examples),
        bytes=len(data),
        sha256=bytes_digest(data),
    )
    return data, entry


def parse_snapshot(path: Place, data: bytes, entry: SnapshotEntry) -> Examples:
    """Reads the example table out of a snapshot's verified bytes.

    Raises:
      StoreDamagedError: The file is not what a snapshot is.
    """
    n = entry.rows
    texts = {name: ((n,), None) for name in ("id", "target", "split", "group")}
    masks = {name: ((n,), "uint8") for name in ("labeled", "grouped")}
    table = read_table(path, data, {**texts, **masks, CONTENT: ((n, 32), "uint8")})
    try:
        ids, splits = _from_text(table["id"]), _from_text(table["split"])
        targets = _masked(_from_text(table["target"]), table["labeled"])
        groups = _masked(_from_text(table["group"]), table["grouped"])
        columns = _parse_columns(path, data, n)
    except (AttributeError, UnicodeDecodeError) as error:
        raise StoreDamagedError(f"{path} holds text that is not UTF-8.") from error
    if (
        not is_sorted_set(ids)
        or not is_sorted_set(tuple(columns))
        or not set(splits) <= set(SPLITS)
    ):
        raise StoreDamagedError(f"{path} is no example table: its ids or splits.")
    return Examples(
        entry.dataset, ids, table[CONTENT], targets, splits, groups, columns
    )


def _add_columns(file: h5py.File, examples: Examples) -> None:
    names, columns = list(examples.columns), list(examples.columns.values())
    n = len(examples)
    texts = _to_text("column", [text for column in columns for text in column])
    filled = [[text is not None for text in column] for column in columns]
    add_dataset(file, "column_name", _to_text("column", names), "Names of the columns")
    add_dataset(
        file,
        "column",
        np.ascontiguousarray(texts.reshape(len(names), n).T),
        "Further texts of the example, one a `column_name`; empty where `filled` is 0",
    )
    add_dataset(
        file,
        "filled",
        np.array(filled, np.uint8).reshape(len(names), n).T.copy(),
        "1 where the example has a text in the column, else 0",
    )


def _parse_columns(
    path: Place, data: bytes, n: int
) -> dict[str, tuple[str | None, ...]]:
    with parsed(path, data) as file:
        names = file.get("column_name")
        width = len(names) if isinstance(names, h5py.Dataset) and names.shape else 0
    if not width:
        return {}
    table = read_table(
        path,
        data,
        {
            "column_name": ((width,), None),
            "column": ((n, width), None),
            "filled": ((n, width), "uint8"),
        },
    )
    names = _from_text(table["column_name"])
    return {
        name: _masked(_from_text(table["column"][:, i]), table["filled"][:, i])
        for i, name in enumerate(names)
    }


def _to_text(column: str, values: Sequence[str | None]) -> np.ndarray:
    """Returns N texts as fixed-length UTF-8, whose chunks have checksums."""
    # Targets, splits and groups are few names said often: each is encoded once.
    encoded = {value: (value or "").encode() for value in dict.fromkeys(values)}
    for value in encoded.values():
        if b"\0" in value:
            raise DatasetError(
                f"The {column} {value!r} holds a zero byte, which a feature store "
                "cannot keep. Rename it."
            )
    length = max(map(len, encoded.values()), default=0)
    texts = np.array([encoded[value] for value in values], f"S{max(length, 1)}")
    return texts.astype(h5py.string_dtype("utf-8", max(length, 1)), copy=False)


def _from_text(values: np.ndarray) -> tuple[str, ...]:
    texts = values.tolist()
    # One object a name, however often it is said: a million rows are 8 MB a column.
    decoded = {text: text.decode() for text in dict.fromkeys(texts)}
    return tuple([decoded[text] for text in texts])


def _masked(values: tuple[str, ...], mask: np.ndarray) -> tuple[str | None, ...]:
    return tuple(
        value if present else None
        for value, present in zip(values, mask.tolist(), strict=True)
    )
