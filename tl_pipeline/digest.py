"""Identities: canonical JSON and SHA-256.

Two values are the same thing when their canonical JSON is the same text. A digest is
64 lower-case hexadecimal digits; its first 12 name files and folders.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# JSON values nest; pyright follows one level, which is where our keys are checked.
Json = None | bool | int | float | str | Sequence[Any] | Mapping[str, Any]

SHORT = 12  # hexadecimal digits in file names: 48 bits


def canonical_json(value: Json) -> str:
    """Writes a JSON value as the one text that stands for it.

    Keys are sorted, nothing is escaped that need not be, and there is no white space,
    so dictionary order and locale never show. NaN and infinities are refused.

    Raises:
      ValueError: The value holds a NaN or an infinity.
      TypeError: The value holds something that JSON does not know.

    Example:
      >>> canonical_json({"b": 1, "a": [True, None]})
      '{"a":[true,null],"b":1}'
    """
    return json.dumps(
        value,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )


def bytes_digest(data: bytes | bytearray | memoryview) -> str:
    """Returns the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def json_digest(value: Json) -> str:
    """Returns the SHA-256 of a value's canonical JSON.

    Example:
      >>> json_digest({"a": 1, "b": 2}) == json_digest({"b": 2, "a": 1})
      True
    """
    return bytes_digest(canonical_json(value).encode())


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_digest(digest: str) -> str:
    """Returns the first 12 digits, the part that names files and folders."""
    return digest[:SHORT]


def plain_json(value: Json) -> dict[str, Json]:
    """Makes tuples lists, so that a spec equals itself after a trip through JSON."""

    def plain(value: Json) -> Json:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    result = plain(value)
    assert isinstance(result, dict)
    return result
