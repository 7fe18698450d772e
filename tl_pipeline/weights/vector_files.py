"""Files of word vectors, read from front to back in blocks: memory stays bounded.

Text of word2vec, GloVe and fastText: a word and its D values a line, with a first line
of how many words and values, which GloVe leaves out. word2vec's binary format: that
line, then each word, a space, and D float32. Either may be compressed with gzip.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from tl_pipeline.errors import WeightsError, shorten

MAX_SIZE = 65_536  # D: no published vector comes near
MAX_WORD_BYTES = 4096
_BLOCK = 4096  # words read at once: 5 MiB of 300 values
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s*\Z")
_SPACE = b" \t"


class Block(NamedTuple):
    """Words [n] as UTF-8, and their vectors, float32 [n, D]."""

    words: list[bytes]
    vectors: np.ndarray


class VectorFile:
    """An open file of word vectors.

    Attributes:
      size: D.
      announced: How many words the file says it has; None where it says nothing.
      is_binary: Whether it is in word2vec's binary format.
    """

    def __init__(self, path: Path, file: IO[bytes]):
        """Reads the beginning; use `open_vector_file`."""
        self._path = path
        self._file = io.BufferedReader(file, 2**20)  # pyright: ignore[reportArgumentType]
        self._line = 0
        self.is_binary = False
        first = self._read_line()
        if match := _HEADER.fullmatch(first):
            self.announced: int | None = int(match[1])
            self.size = int(match[2])
            self.is_binary = not self._begins_with_text()
            self._first: bytes | None = None
        else:
            self.announced = None
            self.size = _count_values(first)
            self._first = first
        if not 1 <= self.size <= MAX_SIZE:
            raise WeightsError(
                f"Word vectors {path} begin with {shorten(_show(first))}, which is "
                "neither a word and its values nor how many there are. Bring a file of "
                "word2vec (text or binary), GloVe, or fastText (.vec or .bin)."
            )

    def read(self) -> Iterator[Block]:
        """Yields all words with their vectors, in the file's order.

        Raises:
          WeightsError: A line is broken, the file ends early, or a value is not finite.
        """
        n_read = 0
        for block in self._read_binary() if self.is_binary else self._read_text():
            bad = ~np.isfinite(block.vectors).all(axis=1)
            if bad.any():
                word = _show(block.words[int(np.flatnonzero(bad)[0])])
                raise WeightsError(
                    f"Word vectors {self._path} have values of {word!r} that are not "
                    "finite. Bring the file anew, or take the word out of it."
                )
            n_read += len(block.words)
            yield block
        if self.announced is not None and n_read != self.announced:
            raise WeightsError(
                f"Word vectors {self._path} say that they are of {self.announced:,} "
                f"words, and have {n_read:,}: the file is cut short, or was put "
                "together from others. Bring it anew."
            )

    def _read_text(self) -> Iterator[Block]:
        words: list[bytes] = []
        values: list[bytes] = []
        lines: list[int] = []  # where they stand
        for number, line in self._lines():
            # From the right: some files of GloVe have words with spaces in them.
            word, *of_word = line.rstrip().rsplit(None, self.size)
            if len(of_word) != self.size:
                raise self._broken(number, f"{len(of_word):,} values")
            words.append(word)
            values += of_word
            lines.append(number)
            if len(words) == _BLOCK:
                yield Block(words, self._parse(values, lines))
                words, values, lines = [], [], []
        if words:
            yield Block(words, self._parse(values, lines))

    def _parse(self, values: list[bytes], lines: list[int]) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):  # infinite ones are refused later
                return np.array(values, np.float32).reshape(-1, self.size)
        except ValueError:
            for place, value in enumerate(values):
                try:
                    float(value)
                except ValueError:
                    line = lines[place // self.size]
                    raise self._broken(line, f"{_show(value)!r}") from None
            raise

    def _read_binary(self) -> Iterator[Block]:
        assert self.announced is not None
        n_bytes = 4 * self.size
        for begin in range(0, self.announced, _BLOCK):
            n = min(_BLOCK, self.announced - begin)
            words, rows = [], bytearray()
            for _ in range(n):
                word = self._read_word()
                row = self._file.read(n_bytes)
                if not word or len(row) < n_bytes:
                    found = begin + len(words)
                    raise WeightsError(
                        f"Word vectors {self._path} say that they are of "
                        f"{self.announced:,} words, and end after {found:,}: the file "
                        "is cut short. Bring it anew."
                    )
                words.append(word)
                rows += row
            yield Block(words, np.frombuffer(rows, "<f4").reshape(n, self.size))

    def _read_word(self) -> bytes:
        """Returns what stands before the next space; some writers end rows in lines."""
        word = bytearray()
        while (byte := self._file.read(1)) not in (b" ", b""):
            if byte != b"\n" or word:
                word += byte
            if len(word) > MAX_WORD_BYTES:
                raise WeightsError(
                    f"Word vectors {self._path} have a word of more than "
                    f"{MAX_WORD_BYTES:,} bytes: this is no file of word2vec. Bring it "
                    "anew."
                )
        return bytes(word)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        if self._first is not None:
            yield 1, self._first
        while line := self._read_line():
            if line.strip():
                yield self._line, line

    def _read_line(self) -> bytes:
        longest = MAX_WORD_BYTES + 32 * MAX_SIZE
        line = self._file.readline(longest)
        if len(line) == longest:
            raise self._broken(self._line + 1, f"more than {longest:,} bytes")
        self._line += 1
        return line

    def _begins_with_text(self) -> bool:
        """Tells whether a word and its values follow, without taking them."""
        ahead = self._file.peek(2**20)[: MAX_WORD_BYTES + 32 * self.size]
        line, newline, _ = ahead.partition(b"\n")
        if not newline and len(line) == 2**20:
            return False
        return _count_values(line) >= self.size

    def _broken(self, line: int, found: str) -> WeightsError:
        return WeightsError(
            f"Word vectors {self._path} have a broken line {line:,}: {found} where a "
            f"word and {self.size:,} values should stand. Mend the line, or bring the "
            "file anew."
        )


def open_vector_file(path: Path, file: IO[bytes]) -> VectorFile:
    """Opens a file of word vectors that is not fastText's own `.bin`.

    Args:
      path: For messages.
      file: At its beginning.

    Raises:
      WeightsError: It is no file of word vectors.
    """
    begin = file.read(4)
    file.seek(0)
    if begin[:4] == _ZIP:
        raise WeightsError(
            f"Word vectors {path} are packed as a ZIP archive: unpack it, and name the "
            "file that was in it."
        )
    if begin[:2] == _GZIP:
        return VectorFile(path, gzip.GzipFile(fileobj=file))  # pyright: ignore[reportArgumentType]
    return VectorFile(path, file)


# What a damaged gzip raises.
COMPRESSION_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)


def _count_values(line: bytes) -> int:
    """Returns how many numbers end a line; -1 where no word stands before them."""
    fields = line.split()
    n = 0
    for field in reversed(fields[1:]):
        try:
            float(field)
        except ValueError:
            break
        n += 1
    return n if fields else -1


def _show(text: bytes) -> str:
    return text[:80].decode("utf-8", "backslashreplace").strip()
