"""fastText's own `.bin` files: words, and vectors of the parts of words.

A word's vector is the mean over its own row, where the file has one, and the rows of
its parts: all runs of `min_n` to `max_n` characters of the word in angle brackets,
hashed into buckets that follow the words' rows. So a word that the file lacks has one.

Reference:
  Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606
"""

import dataclasses
import mmap
import struct
from pathlib import Path

import numpy as np

from tl_pipeline.errors import WeightsError

MAGIC = struct.pack("<i", 793_712_314)
_VERSIONS = (11, 12)
_SUPERVISED = 3
_HEADER = struct.Struct("<2i12id")  # magic, version, twelve settings, a threshold
_DICTIONARY = struct.Struct("<3i2q")
_ENTRY = struct.Struct("<qb")  # behind a word and a zero byte: count, type
_MATRIX = struct.Struct("<?2q")
_WORD = 0  # the type of an entry that is no label


@dataclasses.dataclass(frozen=True)
class Subwords:
    """How words are taken apart: runs of `min_n` to `max_n` characters, in buckets."""

    min_n: int
    max_n: int
    n_buckets: int

    def find(self, word: str) -> list[int]:
        """Returns the buckets of a word's parts, in order.

        Example:
          >>> Subwords(3, 3, 1000).find("as")
          [31, 177]
        """
        text = f"<{word}>"
        ends = range(len(text))
        parts = [
            text[begin : begin + n]
            for begin in ends
            for n in range(self.min_n, self.max_n + 1)
            if begin + n <= len(text)
            and not (n == 1 and begin in (0, len(text) - 1))  # a bracket alone
        ]
        return [_hash(part.encode()) % self.n_buckets for part in parts]


@dataclasses.dataclass(frozen=True)
class FastTextFile:
    """What a `.bin` file holds, its matrix left where it is.

    Attributes:
      words: As UTF-8, [V].
      counts: How often each was seen in training, int64 [V].
      subwords: How words are taken apart; None where they are not.
      offset: Where the matrix begins, float32 [rows, size], of V words and then of the
        buckets.
      rows: Of the matrix.
      size: D.
    """

    words: list[bytes]
    counts: np.ndarray
    subwords: Subwords | None
    offset: int
    rows: int
    size: int


def read_fasttext(path: Path) -> FastTextFile:
    """Reads all of a `.bin` file but its matrix.

    Raises:
      OSError: It cannot be read.
      WeightsError: It is cut short, quantized, or of a version that is not known.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        try:
            return _read(path, data)
        except (struct.error, _CutShortError) as error:
            raise WeightsError(
                f"Word vectors {path} begin as fastText's and do not go on as such: "
                "the file is cut short or damaged. Bring it anew."
            ) from error


class _CutShortError(Exception):
    """What the file says of itself cannot be."""


def _read(path: Path, data: mmap.mmap) -> FastTextFile:
    _, version, *settings, _ = _HEADER.unpack_from(data)
    if version not in _VERSIONS:
        raise WeightsError(
            f"Word vectors {path} are fastText's, of version {version}; versions "
            f"{' and '.join(map(str, _VERSIONS))} are read. Write them with a fastText "
            "of 2017 or later."
        )
    size, _, _, _, _, _, _, model, n_buckets, min_n, max_n, _ = settings
    if version == 11 and model == _SUPERVISED:
        max_n = 0  # as fastText itself takes these old files
    at = _HEADER.size
    n_entries, n_words, _, _, n_pruned = _DICTIONARY.unpack_from(data, at)
    at += _DICTIONARY.size
    words, counts = [], []
    for _ in range(n_entries):
        end = data.find(b"\0", at)
        if end < 0:
            raise _CutShortError
        count, kind = _ENTRY.unpack_from(data, end + 1)
        if kind == _WORD:
            words.append(data[at:end])
            counts.append(count)
        at = end + 1 + _ENTRY.size
    at += 8 * max(n_pruned, 0)
    is_quantized, rows, columns = _MATRIX.unpack_from(data, at)
    if is_quantized or n_pruned > 0:
        raise WeightsError(
            f"Word vectors {path} are quantized (.ftz): their rows are no floats. "
            "Bring the .bin file that they were made of."
        )
    at += _MATRIX.size
    has_subwords = max_n > 0 and n_buckets > 0
    least_rows = n_words + (n_buckets if has_subwords else 0)
    if (
        len(words) != n_words
        or not 1 <= columns == size
        or rows < least_rows
        or len(data) < at + 4 * rows * columns
    ):
        raise _CutShortError
    return FastTextFile(
        words,
        np.array(counts, np.int64),
        Subwords(min_n, max_n, n_buckets) if has_subwords else None,
        at,
        rows,
        size,
    )


def _hash(part: bytes) -> int:
    """FNV-1a of 32 bits, over signed bytes as fastText has it."""
    found = 2_166_136_261
    for byte in part:
        signed = byte if byte < 128 else byte | 0xFFFFFF00
        found = ((found ^ signed) * 16_777_619) & 0xFFFFFFFF
    return found
