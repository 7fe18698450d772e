"""Word vectors opened for looking words up, however many there are.

A file is gone through once and kept beside it, in this user's folder of caches, as an
index of its words and, unless it is fastText's, as a matrix: from then on opening it
takes no time, and what is not looked up is not read. Memory stays bounded: a hash of 8
bytes a word while the index is made, and what the system keeps of the matrix.
"""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from tl_pipeline.digest import SHORT, Json, json_digest
from tl_pipeline.errors import WeightsError, shorten
from tl_pipeline.files import cache_folder
from tl_pipeline.preprocess import FoundWord
from tl_pipeline.progress import NoProgress, Progress
from tl_pipeline.weights.fasttext_bin import MAGIC, Subwords, read_fasttext
from tl_pipeline.weights.vector_files import (
    COMPRESSION_ERRORS,
    Block,
    open_vector_file,
)

_VERSION = 1  # of what is kept
_FACTS = "facts.json"
_BLOCK_ROWS = 4096
_MIB = 2**20
_SETTLED_SECONDS = 2  # a file changed within them may change again at the same time
_EULER = 0.5772156649


class WordVectors:
    """Vectors of words, float32 [D] each.

    Attributes:
      size: D.
      n_words: V, how many words have a row.
      n_repeated: How many of them repeat an earlier one, whose row is the word's.
      digest: SHA-256 of words, vectors, counts, and how words are taken apart.
      sha256: Of the file.
      file_format: `"text"`, `"word2vec-binary"` or `"fasttext-bin"`.
    """

    def __init__(self, path: Path, folder: Path):
        """Opens what `open_word_vectors` made of a file."""
        facts = json.loads((folder / _FACTS).read_text())
        self.size: int = facts["size"]
        self.n_words: int = facts["words"]
        self.n_repeated: int = facts["repeated"]
        self.digest: str = facts["digest"]
        self.sha256: str = facts["sha256"]
        self.file_format: str = facts["format"]
        subwords, offset = facts["subwords"], facts["offset"]
        self._subwords = Subwords(**subwords) if subwords else None
        self._words = np.memmap(folder / "words", np.uint8, "r")
        self._ends = _open(folder / "ends", np.int64)
        self._hashes = _open(folder / "hashes", np.uint64)
        self._order = _open(folder / "order", np.int32)
        counts = folder / "counts"
        self._counts = _open(counts, np.int64) if counts.exists() else None
        self._total = int(self._counts.sum()) if self._counts is not None else 0
        self._matrix = np.memmap(
            folder / "matrix" if offset is None else path,
            np.float32,
            "r",
            offset=offset or 0,
            shape=(facts["rows"], self.size),
        )

    def find(self, word: str) -> FoundWord | None:
        """Looks a word up: as it is, then in lower case, then by its parts.

        A file of fastText's has vectors of parts, and with them one of every word that
        is long enough; its own words are the mean of their row and those of their
        parts. A word's probability is its share of the counts where a file has them,
        else, as files are sorted by frequency, 1 / (rank * H_V) by Zipf's law.

        Returns:
          Its vector and probability; None where there is neither row nor part.
        """
        row = self._find_row(word)
        if row is None and (lower := word.lower()) != word:
            row = self._find_row(lower)
            word = word if row is None else lower
        rows = [] if row is None else [row]
        if self._subwords is not None:
            rows += [self.n_words + bucket for bucket in self._subwords.find(word)]
        if not rows:
            return None
        vector = self._matrix[rows].mean(axis=0, dtype=np.float32)
        return FoundWord(vector, 0.0 if row is None else self._probability(row))

    def _find_row(self, word: str) -> int | None:
        wanted = word.encode("utf-8", "surrogatepass")
        # Of the array's own type: beside a plain number all of it would be converted.
        hashed = np.uint64(_hash(wanted))
        place = int(np.searchsorted(self._hashes, hashed))
        while place < self.n_words and self._hashes[place] == hashed:
            row = int(self._order[place])
            begin = int(self._ends[row - 1]) if row else 0
            if self._words[begin : int(self._ends[row])].tobytes() == wanted:
                return row
            place += 1
        return None

    def _probability(self, row: int) -> float:
        if self._counts is not None and self._total:
            return float(self._counts[row]) / self._total
        return 1 / ((row + 1) * (math.log(self.n_words) + _EULER))


def open_word_vectors(
    path: Path, *, folder: Path | None = None, progress: Progress | None = None
) -> WordVectors:
    """Opens a file of word vectors: word2vec (text, binary), GloVe, fastText's.

    Args:
      path: The file; text and word2vec's binary may be compressed with gzip.
      folder: Where indexes are kept; by default in the user's folder of caches.
      progress: Told of each MiB where the file is gone through, which takes a while.

    Raises:
      WeightsError: The file cannot be read, is damaged, or is no such file; or there is
        no room for its index.
    """
    folder = folder or cache_folder("word_vectors")
    try:
        status = path.stat()
        if not path.is_file() or not status.st_size:
            raise WeightsError(
                f"Asked for word vectors {path}: it is "
                f"{'empty' if path.is_file() else 'no file'}. Name a file of word2vec "
                "(text or binary), GloVe, or fastText (.vec or .bin)."
            )
        age = time.time() - status.st_mtime
        if 0 <= age < _SETTLED_SECONDS:
            time.sleep(_SETTLED_SECONDS - age)
            status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    key = json_digest(
        [
            _VERSION,
            *(status.st_dev, status.st_ino, status.st_size),
            *(status.st_mtime_ns, status.st_ctime_ns),
        ]
    )
    kept = folder / key[:SHORT]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{kept}.lock"):
            if not (kept / _FACTS).is_file():
                _make_index(path, kept, progress or NoProgress())
    except OSError as error:
        raise WeightsError(
            f"Word vectors {path} are indexed in {kept}, and that failed: "
            f"{shorten(error)}. Make room there, or set XDG_CACHE_HOME."
        ) from error
    return WordVectors(path, kept)


def _make_index(path: Path, kept: Path, progress: Progress) -> None:
    building = kept.with_suffix(".tmp")
    shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(kept, ignore_errors=True)
    building.mkdir()
    progress.start("index", path.stat().st_size // _MIB)
    try:
        facts = _write_index(path, building, progress)
        (building / _FACTS).write_text(json.dumps(facts))
        for file in building.iterdir():  # else a loss of power could leave zeros there
            with file.open("rb") as written:
                os.fsync(written.fileno())
        os.rename(building, kept)
    finally:
        progress.finish()
        shutil.rmtree(building, ignore_errors=True)


def _write_index(path: Path, folder: Path, progress: Progress) -> dict[str, Json]:
    try:
        with path.open("rb") as file:
            is_fasttext = file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise _unreadable(path, error) from error
    if is_fasttext:
        return _write_fasttext(path, folder, progress)
    return _write_plain(path, folder, progress)


def _write_plain(path: Path, folder: Path, progress: Progress) -> dict[str, Json]:
    words, hashed, told = _Words(folder), hashlib.sha256(), 0
    with path.open("rb") as file, (folder / "matrix").open("wb") as matrix:
        try:
            opened = open_vector_file(path, file)
        except COMPRESSION_ERRORS as error:
            raise _unreadable(path, error) from error
        for block in _read_blocks(path, opened.read()):
            little = np.ascontiguousarray(block.vectors, "<f4")
            matrix.write(little.data)
            hashed.update(little.data)
            words.add(block.words)
            progress.advance(file.tell() // _MIB - told)
            told = file.tell() // _MIB
    if not words.n:
        raise WeightsError(f"Word vectors {path} hold no words. Bring the file anew.")
    kind = "word2vec-binary" if opened.is_binary else "text"
    return words.finish(
        path, size=opened.size, vectors=hashed.hexdigest(), kind=kind, rows=words.n
    )


def _read_blocks(path: Path, blocks: Iterator[Block]) -> Iterator[Block]:
    try:
        yield from blocks
    except COMPRESSION_ERRORS as error:
        raise _unreadable(path, error) from error


def _write_fasttext(path: Path, folder: Path, progress: Progress) -> dict[str, Json]:
    found = read_fasttext(path)
    words, hashed, told = _Words(folder), hashlib.sha256(), 0
    words.add(found.words)
    found.counts.astype("<i8").tofile(folder / "counts")
    shape = (found.rows, found.size)
    matrix = np.memmap(path, np.float32, "r", offset=found.offset, shape=shape)
    for begin in range(0, found.rows, _BLOCK_ROWS):
        rows = np.asarray(matrix[begin : begin + _BLOCK_ROWS])
        if not np.isfinite(rows).all():
            raise WeightsError(
                f"Word vectors {path} have values that are not finite, among rows "
                f"{begin:,} to {begin + len(rows):,}. Bring the file anew."
            )
        hashed.update(np.ascontiguousarray(rows, "<f4").data)
        read = (found.offset + 4 * found.size * (begin + len(rows))) // _MIB
        progress.advance(read - told)
        told = read
    return words.finish(
        path,
        size=found.size,
        vectors=hashed.hexdigest(),
        kind="fasttext-bin",
        rows=found.rows,
        offset=found.offset,
        counts=hashlib.sha256(found.counts.astype("<i8").data).hexdigest(),
        subwords=dataclasses.asdict(found.subwords) if found.subwords else None,
    )


class _Words:
    """Words on their way into an index."""

    def __init__(self, folder: Path):
        self.n = 0
        self._folder = folder
        self._digest = hashlib.sha256()
        self._hashes: list[np.ndarray] = []
        self._end = 0

    def add(self, words: list[bytes]) -> None:
        """Adds words [n] of the next n rows."""
        lengths = np.array([len(word) for word in words], np.int64)
        with (self._folder / "words").open("ab") as file:
            file.write(b"".join(words))
        with (self._folder / "ends").open("ab") as file:
            file.write((self._end + np.cumsum(lengths)).data)
        self._hashes.append(np.array([_hash(word) for word in words], np.uint64))
        self._digest.update(b"".join(word + b"\0" for word in words))
        self._end += int(lengths.sum())
        self.n += len(words)

    def finish(
        self,
        path: Path,
        *,
        size: int,
        vectors: str,
        kind: str,
        rows: int,
        offset: int | None = None,
        counts: str | None = None,
        subwords: dict[str, Any] | None = None,
    ) -> dict[str, Json]:
        """Writes what words are found by, and returns the facts of the whole."""
        if self.n > np.iinfo(np.int32).max:
            raise WeightsError(f"Word vectors {path} have {self.n:,} words: too many.")
        hashes = np.concatenate(self._hashes)
        order = np.argsort(hashes, kind="stable").astype(np.int32)
        hashes = hashes[order]
        hashes.tofile(self._folder / "hashes")
        order.tofile(self._folder / "order")
        digest = json_digest(
            {
                "size": size,
                "words": self._digest.hexdigest(),
                "vectors": vectors,
                "counts": counts,
                "subwords": subwords,
            }
        )
        return {
            "size": size,
            "words": self.n,
            "repeated": int((hashes[1:] == hashes[:-1]).sum()),
            "digest": digest,
            "sha256": _digest_file(path),
            "format": kind,
            "rows": rows,
            "offset": offset,
            "subwords": subwords,
        }


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(file: Path, dtype: type[np.generic]) -> np.ndarray:
    return np.memmap(file, dtype, "r")


def _hash(word: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")


def _unreadable(path: Path, error: BaseException) -> WeightsError:
    return WeightsError(
        f"Word vectors {path} cannot be read: {shorten(error)}. Name a file that is "
        "there, or bring it anew."
    )
