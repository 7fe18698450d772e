"""Content digests of a dataset's examples, and the table of examples they make."""

import concurrent.futures
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.stat_cache import Digested, Key, Stamp, StatCache, stamp_file
from tl_pipeline.errors import ServerError
from tl_pipeline.examples import Examples, assign_split, check_split_sizes

Progress = Callable[[int, int], None]  # examples done, examples in all

# Files handed to a thread at once: enough to make the handing over cheap, few enough
# to show progress.
CHUNK = 64
# An interrupted run keeps what it had remembered; each remembering costs two syncs.
REMEMBER_EVERY = 4096


class Contents(NamedTuple):
    """The content digests of the examples that could be read.

    Attributes:
      content: [N, 32] uint8, SHA-256 of each example's bytes.
      items: N items, sorted by id.
      hashed: How many examples were read for their digest.
      unreadable: (id, reason) of each example that could not be read.
    """

    content: np.ndarray
    items: tuple[Item, ...]
    hashed: int
    unreadable: tuple[tuple[str, str], ...]


def digest_items(
    dataset: Dataset,
    cache: StatCache | None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Contents:
    """Finds the content digest of each example, reading only what the cache lacks.

    Args:
      dataset: The examples.
      cache: Digests by stamp, or None to read everything.
      workers: Threads that read; by default one a core. Of a dataset in a bucket,
        whose server they wait for, there are always more.
      progress: Told (examples done, examples in all) every so often.

    Raises:
      ServerError: The server of its bucket cannot be reached.
    """
    n = len(dataset.items)
    keys, reasons = _stamp_items(dataset)
    digests = _look_up(keys, cache)
    missing = [row for row in keys if row not in digests]
    chunks = [missing[i : i + CHUNK] for i in range(0, len(missing), CHUNK)]
    fresh: list[Digested] = []
    hashed = 0
    threads = dataset.readers or workers or os.cpu_count() or 1
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    try:
        futures = [pool.submit(_read_digests, dataset, rows) for rows in chunks]
        for rows, future in zip(chunks, futures, strict=True):
            for row, outcome in zip(rows, future.result(), strict=True):
                if isinstance(outcome, str):
                    reasons[row] = outcome
                    continue
                digests[row], read_ns = outcome
                fresh.append(Digested(keys[row], digests[row], read_ns))
                hashed += 1
            if cache is not None and len(fresh) >= REMEMBER_EVERY:
                cache.remember(fresh)
                fresh.clear()
            if progress is not None:
                progress(len(digests) + len(reasons), n)
    finally:
        pool.shutdown(cancel_futures=True)
        if cache is not None:
            cache.remember(fresh)
    rows = sorted(digests)
    content = np.frombuffer(b"".join(digests[row] for row in rows), np.uint8)
    return Contents(
        content.reshape(-1, 32),
        tuple(dataset.items[row] for row in rows),
        hashed,
        tuple((dataset.items[row].id, reasons[row]) for row in sorted(reasons)),
    )


def make_examples(
    dataset: Dataset, contents: Contents, *, val_size: float, test_size: float
) -> Examples:
    """Makes the table of the readable examples, each with its split.

    Args:
      dataset: Where `contents` are from.
      contents: The readable examples with their digests.
      val_size: Share of validation, where the data names none.
      test_size: Share of test, where the data has no splits.

    Raises:
      ConfigError: The shares are not in [0, 1) or leave nothing to train on.
    """
    check_split_sizes(val_size, test_size)
    items = contents.items
    splits = [
        assign_split(
            item.split,
            content=row.tobytes(),
            group=item.group,
            val_size=val_size,
            test_size=test_size,
            carve_val=dataset.carve_val,
        )
        for item, row in zip(items, contents.content, strict=True)
    ]
    return Examples(
        dataset.name,
        tuple(item.id for item in items),
        contents.content,
        tuple(item.target for item in items),
        tuple(splits),
        tuple(item.group for item in items),
        {
            name: tuple(item.columns[i] for item in items)
            for i, name in sorted(enumerate(dataset.column_names), key=lambda x: x[1])
        },
    )


def _stamp_items(dataset: Dataset) -> tuple[dict[int, Key], dict[int, str]]:
    """Returns the cache's key, or why there is none, by row."""
    # Members of one file share its stamp: a built-in's file is looked at once.
    stamps: dict[str, Stamp | str] = dict(dataset.stamps)
    keys: dict[int, Key] = {}
    reasons: dict[int, str] = {}
    for row, item in enumerate(dataset.items):
        path = item.file
        if path not in stamps:
            try:
                stamps[path] = stamp_file(path)
            except OSError as error:
                stamps[path] = _reason(error)
        stamp = stamps[path]
        if isinstance(stamp, str):
            reasons[row] = stamp
        else:
            keys[row] = Key(os.fsencode(path), item.member, stamp)
    return keys, reasons


def _look_up(keys: dict[int, Key], cache: StatCache | None) -> dict[int, bytes]:
    if cache is None:
        return {}
    found = zip(keys, cache.find(list(keys.values())), strict=True)
    return {row: digest for row, digest in found if digest is not None}


def _read_digests(
    dataset: Dataset, rows: Sequence[int]
) -> list[tuple[bytes, int] | str]:
    """Returns (digest, time before reading) of each row, or why it has none."""
    outcomes: list[tuple[bytes, int] | str] = []
    for row in rows:
        read_ns = time.time_ns()
        try:
            data = dataset.read(dataset.items[row])
        except ServerError:  # says nothing of this example
            raise
        except OSError as error:
            outcomes.append(_reason(error))
        else:
            outcomes.append((hashlib.sha256(data).digest(), read_ns))
    return outcomes


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
