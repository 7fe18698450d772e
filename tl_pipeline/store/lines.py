"""Files of one JSON object a line, each line with a check of its own.

`failures.jsonl` and `extractions.jsonl` are not vouched for by the manifest, because
they change at other times. So every line carries the first 12 digits of its own
digest as `check`: a flipped bit is found, and said with the line's number.
"""

import json
from collections.abc import Iterable, Mapping

from tl_pipeline.digest import Json, canonical_json, json_digest, short_digest
from tl_pipeline.errors import StoreDamagedError
from tl_pipeline.files import write_atomically
from tl_pipeline.places import Place


def write_lines(path: Place, rows: Iterable[Mapping[str, Json]]) -> None:
    """Replaces a file by rows, in the order given; leaves an equal file alone.

    Raises:
      OSError: The file cannot be written; the old one stands.
    """
    text = "".join(
        canonical_json({**row, "check": short_digest(json_digest(row))}) + "\n"
        for row in rows
    ).encode()
    if path.exists():
        if path.read_bytes() == text:
            return
    elif not text:
        return
    write_atomically(path, text)


def read_lines(path: Place) -> list[dict[str, Json]]:
    """Reads the rows of a file; a missing file has none.

    Raises:
      StoreDamagedError: A line is not the one that was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    if not data:
        return []
    rows = []
    *lines, rest = data.split(b"\n")
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        row = _parse(line)
        if row is None or (rest and number > len(lines)):
            raise StoreDamagedError(
                f"{path} is damaged in line {number}. Delete the file and extract "
                "again: it is written anew."
            )
        rows.append(row)
    return rows


def _parse(line: bytes) -> dict[str, Json] | None:
    """Returns a line's row, or None if it is not what `write_lines` writes."""
    try:
        row = json.loads(line)
        del row["check"]
        check = short_digest(json_digest(row))
        intact = canonical_json({**row, "check": check}).encode() == line
    except (KeyError, RecursionError, TypeError, ValueError):
        return None
    return row if intact else None
