"""Examples on their way into a backbone: opened once, decoded once, in order.

One decoding serves every preprocessing that wants the example. Pillow, tokenizers and
soundfile release the interpreter's lock, so threads keep all cores busy without
forking.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.decoding import DecodeError
from tl_pipeline.data.preparing import decode, prepare
from tl_pipeline.errors import ServerError
from tl_pipeline.preprocess import Preprocess


@dataclasses.dataclass(frozen=True)
class InputFailure:
    """Why an example could not be made an input.

    Attributes:
      kind: `"decode"`: its bytes are no usable input, today or tomorrow; `"io"`: its
        bytes could not be had, which may pass.
      reason: A sentence.
    """

    kind: str
    reason: str


class Wanted(NamedTuple):
    """One example to open, and the preprocessings that want it."""

    content: bytes  # 32-byte content digest
    preprocesses: tuple[Preprocess, ...]


def window_size(workers: int | None) -> int:
    """Returns how many examples threads load ahead of whoever takes them."""
    # Far enough ahead to cover a slow example, near enough to keep memory flat.
    return 8 * (workers or os.cpu_count() or 1)


Loaded = Mapping[Preprocess, np.ndarray | InputFailure]


class Inputs:
    """A dataset's examples by content, with a count of how many were opened.

    Attributes:
      opened: How many examples were opened so far.
      cut: How many of them were longer than the longest input, and cut.
      words: How many words were looked up, where words are.
      unknown: How many of them were not found.
    """

    def __init__(self, dataset: Dataset, items: Mapping[bytes, Sequence[Item]]):
        """Takes the dataset and, for each content digest, the items that have it."""
        self._dataset = dataset
        self._items = items
        self._lock = threading.Lock()
        self.opened = 0
        self.cut = 0
        self.words = 0
        self.unknown = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # All that reading the items needs; the lock and the count stay.
        dataset = dataclasses.replace(self._dataset, items=(), notes=(), stamps={})
        return Inputs, (dataset, self._items)

    def take(self, contents: Iterable[bytes]) -> "Inputs":
        """Returns the examples with these contents, to be sent to another process."""
        items = {content: self._items[content] for content in contents}
        return Inputs(self._dataset, items)

    def ids(self, content: bytes) -> list[str]:
        """Returns the ids of the examples with this content, sorted."""
        return [item.id for item in self._items[content]]

    def contents(self) -> np.ndarray:
        """Returns the distinct content digests, [n, 32] uint8."""
        return np.frombuffer(b"".join(self._items), np.uint8).reshape(-1, 32)

    def load(self, wanted: Wanted) -> Loaded:
        """Opens, decodes and preprocesses one example.

        Returns:
          For each preprocessing an array of its dtype, or why there is none.

        Raises:
          ServerError: The server of the dataset's bucket cannot be reached.
        """
        with self._lock:
            self.opened += 1
        try:
            data = self._read(wanted.content)
            decoded = {
                decoder: decode(data, decoder)
                for decoder in {p.decoder for p in wanted.preprocesses}
            }
        except DecodeError as error:
            failure = InputFailure("decode", str(error))
        except ServerError:
            raise
        except OSError as error:
            failure = InputFailure("io", f"cannot be read: {error}")
        else:
            return self._prepare(decoded, wanted.preprocesses)
        return dict.fromkeys(wanted.preprocesses, failure)

    def stream(
        self, wanted: Iterable[Wanted], *, workers: int | None = None
    ) -> Iterator[tuple[bytes, Loaded]]:
        """Loads examples ahead of the caller in threads, and yields them in order.

        Args:
          wanted: What to load, in the order to yield it.
          workers: Threads; by default one a core.
        """
        workers = workers or os.cpu_count() or 1
        window = window_size(workers)
        queue: collections.deque[tuple[bytes, concurrent.futures.Future[Loaded]]]
        queue = collections.deque()
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            try:
                for one in wanted:
                    queue.append((one.content, pool.submit(self.load, one)))
                    if len(queue) >= window:
                        content, future = queue.popleft()
                        yield content, future.result()
                while queue:
                    content, future = queue.popleft()
                    yield content, future.result()
            finally:  # an interrupted caller does not wait for what it will not use
                pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(
        self, decoded: Mapping[str, object], preprocesses: Sequence[Preprocess]
    ) -> Loaded:
        made: dict[Preprocess, np.ndarray | InputFailure] = {}
        cut, words, unknown = False, 0, 0
        for preprocess in preprocesses:
            try:
                prepared = prepare(decoded[preprocess.decoder], preprocess)
            except DecodeError as error:
                made[preprocess] = InputFailure("decode", str(error))
            else:
                made[preprocess] = prepared.input
                cut |= prepared.is_cut
                words += prepared.words
                unknown += prepared.unknown
        with self._lock:
            self.cut += cut
            self.words += words
            self.unknown += unknown
        return made

    def _read(self, content: bytes) -> bytes:
        """Returns the bytes of the first item that still has this content."""
        problem = OSError("no example has these bytes any more")
        for item in self._items[content]:
            try:
                data = self._dataset.read(item)
            except ServerError:  # says nothing of this example
                raise
            except OSError as error:
                problem = error
                continue
            if hashlib.sha256(data).digest() == content:
                return data
            problem = OSError(f"{item.id} changed while it was being extracted")
        raise problem
