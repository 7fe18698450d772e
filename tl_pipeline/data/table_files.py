"""Tables on disk become columns of text: `.csv`, `.parquet` and `.jsonl`, by pyarrow.

A value keeps the text that it has in the file: in CSV everything is text, so `3` is
`"3"`, `03` is `"03"` and `NA` is `"NA"`; typed whole numbers become their digits. An
empty text is a missing value.

A table comes from anywhere. What makes pyarrow take a wrong table for a right one, or
lets it exhaust memory or the stack, is told before it reads.
"""

import contextlib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa
from pyarrow import csv, json, parquet

from tl_pipeline.data.problems import Problems
from tl_pipeline.errors import shorten

MAX_BYTES = 2**31  # of a table, unpacked: it is read whole
MAX_ROWS = 20_000_000
MAX_TEXT = 10_000  # characters of a value; paths end at 4,096 bytes
MAX_NESTING = 100  # of a JSON value; pyarrow's parser recurses on the stack
_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class UnreadableTable(Exception):
    """A file that is no such table; its text says why."""


class TableFile(Protocol):
    """A table whose columns are known and not read yet."""

    names: list[str]

    def read(self, names: Sequence[str]) -> pa.Table:
        """Reads some of the columns."""
        ...


class Columns(NamedTuple):
    """Columns of text.

    Attributes:
      n_rows: N.
      texts: N texts by column, None where a value is missing.
      raw: N texts by column as the bytes that they are, None where one is missing.
    """

    n_rows: int
    texts: Mapping[str, Sequence[str | None]]
    raw: Mapping[str, Sequence[bytes | None]] = {}


def open_table(path: Path) -> TableFile:
    """Opens a table by its suffix and finds its columns.

    Raises:
      UnreadableTable: It is no such table, or too large to be read whole.
      OSError: It cannot be read.
    """
    with _damage():
        return _TYPES[path.suffix.lower()](path)


def read_columns(
    table: TableFile,
    names: Sequence[str],
    problems: Problems,
    *,
    fractions: Collection[str] = (),
    raw: Sequence[str] = (),
) -> Columns:
    """Reads some of a table's columns as text.

    Args:
      table: From `open_table`.
      names: Which columns; each once.
      problems: Is told of every value that is no text and no number as it may be.
      fractions: Columns that may hold fractions, the shortest text that gives the same
        float; others hold whole numbers only.
      raw: Further columns, whose texts are taken as they are, of whatever length.

    Raises:
      UnreadableTable: The table is damaged.
    """
    with _damage():
        read = table.read(list(dict.fromkeys((*names, *raw))))
        texts = {
            name: _read_texts(read.column(name), name, problems, name in fractions)
            for name in names
        }
        return Columns(
            read.num_rows,
            texts,
            {name: _read_raw(read.column(name), name, problems) for name in raw},
        )


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (UnreadableTable, FileNotFoundError, PermissionError):
        raise
    # A damaged file comes out of pyarrow as nearly every built-in exception there is.
    except Exception as error:
        raise UnreadableTable(shorten(error)) from error


class _Csv:
    def __init__(self, path: Path):
        self._data = _read_bytes(path)
        if self._data.count(b'"') % 2:
            # pyarrow would take all that follows for one value, and say nothing.
            raise UnreadableTable(
                "a quote is opened and not closed; a quote within a value is written "
                'twice, and the value in quotes: "5"" disk"'
            )
        with csv.open_csv(
            pa.BufferReader(self._data), self._reading(), self._parsing([])
        ) as reader:
            self.names = list(reader.schema.names)

    def read(self, names: Sequence[str]) -> pa.Table:
        odd: list[str] = []
        converting = csv.ConvertOptions(
            include_columns=list(names),
            # As bytes: what is not UTF-8 is then known by its row.
            column_types=dict.fromkeys(names, pa.binary()),
            null_values=[""],  # a class may be called NA
            strings_can_be_null=True,
        )
        table = csv.read_csv(
            pa.BufferReader(self._data),
            self._reading(),
            self._parsing(odd),
            converting,
        )
        if odd:
            more = f" and {len(odd) - 5:,} more" if len(odd) > 5 else ""
            raise UnreadableTable(
                f"{len(odd):,} rows have not the header's {len(self.names)} values: "
                f"{', '.join(odd[:5])}{more}"
            )
        return table

    def _reading(self) -> csv.ReadOptions:
        return csv.ReadOptions(use_threads=False)  # threads do not number rows

    def _parsing(self, odd: list[str]) -> csv.ParseOptions:
        def skip(row: csv.InvalidRow) -> str:
            where = "a row" if row.number is None else f"row {row.number - 1}"
            odd.append(f"{where} with {row.actual_columns}")
            return "skip"

        return csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip)


class _Jsonl:
    def __init__(self, path: Path):
        self._data = _read_bytes(path)
        for row, line in enumerate(self._data.split(b"\n"), start=1):
            if _nesting(line) > MAX_NESTING:
                raise UnreadableTable(
                    f"line {row} nests lists or objects more than {MAX_NESTING} deep"
                )
        self._types = self._parse({}).schema
        self.names = list(self._types.names)

    def read(self, names: Sequence[str]) -> pa.Table:
        # A text that looks like a date would become one, and lose its spelling.
        dates = [n for n in names if pa.types.is_temporal(self._types.field(n).type)]
        types = dict.fromkeys(dates, pa.string())
        return self._parse(types).select(list(names))

    def _parse(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        return json.read_json(
            pa.BufferReader(self._data),
            json.ReadOptions(use_threads=False),
            json.ParseOptions(explicit_schema=pa.schema(types)),
        )


class _Parquet:
    def __init__(self, path: Path):
        self._file = parquet.ParquetFile(path, page_checksum_verification=True)
        about = self._file.metadata
        self.names = list(self._file.schema_arrow.names)
        groups = [about.row_group(i) for i in range(about.num_row_groups)]
        n_bytes = sum(max(0, group.total_byte_size) for group in groups)
        if about.num_rows > MAX_ROWS or n_bytes > MAX_BYTES:
            raise UnreadableTable(
                f"it declares {about.num_rows:,} rows of {n_bytes:,} bytes; at most "
                f"{MAX_ROWS:,} rows of {MAX_BYTES:,} bytes can be used"
            )

    def read(self, names: Sequence[str]) -> pa.Table:
        return self._file.read(list(names), use_threads=False)


_TYPES = {".csv": _Csv, ".jsonl": _Jsonl, ".parquet": _Parquet}
SUFFIXES = tuple(_TYPES)


def _read_bytes(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UnreadableTable(
            f"it has {size:,} bytes, more than {MAX_BYTES:,}; as .parquet it is smaller"
        )
    data = path.read_bytes()
    if not data.strip():
        raise UnreadableTable("it is empty")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UnreadableTable("it is in UTF-16; save it as UTF-8")
    return data


def _nesting(line: bytes) -> int:
    brackets = line.translate(None, _NO_BRACKETS)
    if len(brackets) <= MAX_NESTING:
        return 0
    # Brackets within texts count too: a hundred of them unclosed are no table either.
    return max(itertools.accumulate(map(_STEP.__getitem__, brackets)))


def _read_texts(
    column: pa.ChunkedArray, name: str, problems: Problems, fractions: bool
) -> list[str | None]:
    """Returns each value as text, None where there is none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Indices into a dictionary are believed unless all are looked at.
        column.validate(full=True)
        kind = kind.value_type
    if pa.types.is_null(kind):
        return [None] * len(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # Parquet's texts are not looked at when they are read: decode them here.
        large = pa.types.is_large_string(kind)
        column = column.cast(pa.large_binary() if large else pa.binary())
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return list(_decode(column, name, problems))
    if pa.types.is_integer(kind):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_boolean(kind):
        words = {None: None, True: "true", False: "false"}
        return [words[value] for value in column.to_pylist()]
    if pa.types.is_floating(kind):
        return list(_numbers(column, name, problems, fractions))
    problems.add_sentence(
        f"the column {name!r} holds {str(kind)[:100]}; needed is text or whole numbers"
    )
    return [None] * len(column)


def _read_raw(
    column: pa.ChunkedArray, name: str, problems: Problems
) -> list[bytes | None]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column.validate(full=True)
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        large = pa.types.is_large_string(kind)
        column = column.cast(pa.large_binary() if large else pa.binary())
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return list(_values(column))
    texts = _read_texts(column, name, problems, True)
    return [None if text is None else text.encode() for text in texts]


def _decode(
    column: pa.ChunkedArray, name: str, problems: Problems
) -> Iterator[str | None]:
    for row, value in enumerate(_values(column), start=1):
        text = None
        if value:
            try:
                text = value.decode()
            except UnicodeDecodeError:
                problems.add(f"whose {name!r} is no UTF-8", row, repr(value[:20]))
            if text is not None and len(text) > MAX_TEXT:
                problems.add(
                    f"whose {name!r} is longer than {MAX_TEXT:,} characters", row, text
                )
        yield text


def _numbers(
    column: pa.ChunkedArray, name: str, problems: Problems, fractions: bool
) -> Iterator[str | None]:
    # A whole number beside missing ones is often stored as a float.
    for row, value in enumerate(_values(column), start=1):
        if value is None or value != value:
            yield None
        elif value.is_integer():
            yield str(int(value))
        elif fractions and math.isfinite(value):
            yield repr(value)
        else:
            problems.add(
                f"whose {name!r} is no {'finite' if fractions else 'whole'} number",
                row,
                str(value),
            )
            yield None


def _values(column: pa.ChunkedArray) -> Iterator[Any]:
    """Yields Python values, one chunk's at a time."""
    for chunk in column.iterchunks():
        yield from chunk.to_pylist()
