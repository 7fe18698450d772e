"""Lets many processes extract into, merge, collect and read one store at once.

Run by `test_concurrency.py` as a process of its own, which forks a crowd a round, as
`crash_loop.py` forks its writers. Prints JSON.
"""

import argparse
import itertools
import json
import os
import random
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import toy
from crash_loop import in_child

from tl_pipeline.errors import NotFoundError, StoreDamagedError, StoreError
from tl_pipeline.examples import Examples
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.store.verify import verify_store

NIGHTS = 5
MOST_SMALL = 3  # a merge every few nights
FEATURES = ("pool", "stage1")
REFUSED = re.compile(r"Feature store .* has no (snapshot with digest|\w+ of \d+ of) .*")


class Night(NamedTuple):
    """What one writer extracts within one hold of the lock."""

    writer: int
    night: int
    content: np.ndarray


class Tally:
    """What a reader saw, written to a file when it is done."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []

    def write(self, path: Path) -> None:
        path.write_text(json.dumps([self.counts, self.problems]))


def append(log: Path, *lines: str) -> None:
    """Adds lines in one write, which the kernel keeps whole."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
    os.close(descriptor)


def plan_nights(rng: random.Random, round_: int, writers: int) -> list[list[Night]]:
    """Returns each writer's nights: its datasets overlap with those of the others.

    A dataset only grows, but for some rows of the first night that nobody else has: a
    collection drops them, and no row that is asked for again.
    """
    shared = toy.make_content(40, salt=f"{round_} ")
    nights = []
    for writer in range(writers):
        grown = rng.sample(range(len(shared)), 20)
        own = toy.make_content(4, salt=f"{round_} {writer} ")
        nights.append(
            [
                Night(
                    writer,
                    night,
                    np.concatenate(
                        [shared[grown[: 4 * night + 4]], own[night and 4 :]]
                    ),
                )
                for night in range(NIGHTS)
            ]
        )
    return nights


def write(store: FeatureStore, night: Night, log: Path | None) -> None:
    """Extracts as a nightly run does, and then collects, within one hold."""
    name = f"{night.writer} {night.night}"
    with store.lock(on_wait=lambda sentence: None):
        if log:
            append(log, f"begin {name}")
        toy.fill(store, night.content)
        toy.fill(store, night.content, features=FEATURES)
        store.merge(most=MOST_SMALL)
        store.commit_snapshot(make_examples(night))
        store.collect(keep=1)
        if log:
            append(log, f"end {name}")


def make_examples(night: Night) -> Examples:
    return toy.make_examples(night.content, dataset=f"set{night.writer}")


def log_computed(log: Path) -> None:
    """Lets the toy backbone write down every row that it computes."""
    compute = toy.compute

    def logged(content: np.ndarray, feature: str) -> np.ndarray:
        append(log, *(f"{row.tobytes().hex()} {feature}" for row in content))
        return compute(content, feature)

    toy.compute = logged


def check_rows(
    tally: Tally, what: str, values: np.ndarray, content: np.ndarray
) -> None:
    tally.counts["rows"] += len(content)
    feature = what.split()[-1]
    if not np.array_equal(values, toy.compute(content, feature).astype("float16")):
        tally.problems.append(f"wrong rows: {what}")


def read_fresh(path: Path, rng: random.Random, tally: Tally) -> None:
    """Opens a store and reads of it: whatever it names must be there and right."""
    tally.counts["opens"] += 1
    store = open_store(path, spec=toy.SPEC)
    feature = rng.choice(sorted(store.manifest.features))
    if store.snapshots():
        dataset = rng.choice(store.snapshots()).dataset
        rows = store.read(feature, dataset=dataset)
        check_rows(tally, f"of {dataset}, {feature}", rows.features, rows.content)
    values, content = store.rows(feature)
    check_rows(tally, f"all, {feature}", values, content)
    if len(np.unique(content, axis=0)) != len(content):
        tally.problems.append(f"some rows of {feature} are there twice")


def read_held(store: FeatureStore, examples: Examples, tally: Tally) -> None:
    """Reads of a store that was opened long ago, before merges and collections."""
    before = store.manifest
    for snapshot in (examples, examples.digest):
        try:
            rows = store.read("pool", snapshot=snapshot)
        except (NotFoundError, StoreError) as error:
            tally.counts["refused"] += 1
            if isinstance(error, StoreDamagedError) or not REFUSED.match(str(error)):
                tally.problems.append(f"no clear refusal: {error!r}")
        else:
            check_rows(tally, "held, pool", rows.features, rows.content)
    values, content = store.rows("pool")
    check_rows(tally, "held, all, pool", values, content)
    tally.counts["reloaded"] += store.manifest is not before


def check_log(log: Path, nights: list[list[Night]]) -> tuple[list[Night], list[str]]:
    """Returns the nights in order of their holds, and what is wrong with that order."""
    lines = [line.split() for line in log.read_text().splitlines()]
    problems = [
        f"{first} and {second} are interleaved"
        for first, second in itertools.zip_longest(lines[::2], lines[1::2])
        if (first[0], second) != ("begin", ["end", *first[1:]])
    ]
    order = [nights[int(w)][int(n)] for what, w, n in lines if what == "begin"]
    if len(order) != sum(map(len, nights)):
        problems.append(f"{len(order)} holds of the lock")
    return order, problems


def check_end(path: Path, folder: Path, order: list[Night]) -> list[str]:
    """Returns what differs from one process that does the same nights in this order."""
    alone = toy.make_store(folder / "alone", features=FEATURES)
    for night in order:
        write(alone, night, None)
    wanted = toy.read_files(alone.path)
    found = toy.read_files(path)
    return [
        f"{name} differs from one process's"
        for name in sorted(found.keys() | wanted)
        if found.get(name) != wanted.get(name)
    ] + [str(problem) for problem in verify_store(path)["problems"]]


def run_round(
    folder: Path, seed: int, round_: int, writers: int, opens: int
) -> tuple[Counter[str], list[str]]:
    """Runs one crowd: so many writers, and as many readers."""
    rng = random.Random(f"{seed} {round_}")
    nights = plan_nights(rng, round_, writers)
    holds, computed, over = (folder / name for name in ("holds", "computed", "over"))
    # One night comes first, so that every reader can hold a store open from before.
    store = toy.make_store(folder / "stores", features=FEATURES)
    write(store, first := nights[0][0], holds)
    path = store.path
    held = open_store(path)
    examples = make_examples(first)
    read_held(held, examples, Tally())

    def extract(writer: int) -> None:
        log_computed(computed)
        store = open_store(path, spec=toy.SPEC)
        for night in nights[writer][writer == 0 :]:
            write(store, night, holds)

    def read(reader: int) -> None:
        tally, own = Tally(), random.Random(f"{seed} {round_} {reader}")
        done = False
        while not done:
            # Looked at first: the last reads are of a store that nobody writes.
            done = over.exists() and tally.counts["opens"] >= opens
            try:
                read_fresh(path, own, tally)
                if own.random() < 0.05 or done:
                    read_held(held, examples, tally)
                if own.random() < 0.05:
                    tally.counts["verified"] += 1
                    tally.problems += verify_store(path)["problems"]
            except Exception as error:
                tally.problems.append(repr(error))
        tally.write(folder / f"tally-{reader}")

    def start(work: Callable[[int], None], n: int) -> list[int]:
        return [in_child(lambda i=i: work(i)) for i in range(n)]

    def finish(what: str, pids: list[int]) -> list[str]:
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        return [f"a {what} ended with {code}" for code in codes if code]

    readers = start(read, writers)
    problems = finish("writer", start(extract, writers))
    over.touch()
    problems += finish("reader", readers)
    counts: Counter[str] = Counter()
    for tally in folder.glob("tally-*"):
        seen, wrong = json.loads(tally.read_text())
        counts += Counter(seen)
        problems += wrong
    keys = Counter(computed.read_text().splitlines())
    counts["computed"] = len(keys)
    problems += [f"computed {n} times: {key}" for key, n in keys.items() if n > 1]
    order, interleaved = check_log(holds, nights)
    counts["holds"] = len(order)
    problems += interleaved or check_end(path, folder, order)
    return counts, problems


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--rounds", type=int, required=True)
    options.add_argument("--opens", type=int, required=True, help="at least, in all")
    options.add_argument("--seed", type=int, default=0)
    arguments = options.parse_args()
    total: Counter[str] = Counter()
    problems: list[str] = []
    start = time.perf_counter()
    for round_ in range(arguments.rounds):
        writers = (2, 4, 8)[round_ % 3]
        folder = arguments.folder / "round"
        folder.mkdir()
        opens = -(-arguments.opens // (arguments.rounds * writers))
        counts, wrong = run_round(folder, arguments.seed, round_, writers, opens)
        total += counts
        problems += [f"round {round_}, {writers} writers: {text}" for text in wrong]
        shutil.rmtree(folder)
    seconds = time.perf_counter() - start
    json.dump({**total, "problems": problems, "seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main()
