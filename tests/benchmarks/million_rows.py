"""The feature store at scale: memory, index, snapshots and minibatches.

    python tests/benchmarks/million_rows.py [--rows 1000000] [--width 2048]

Writes a store of float16 rows that follow from their content digests, through the lock,
plan, commit and snapshot of every extraction; reads it back; and deletes it. A million
rows of 2,048 take 4.2 GB under `--folder` meanwhile. Each part runs in a process of its
own, so that its memory is its own; the last one may map no more than `--limit` MiB.

Memory is resident memory (RSS). Drift is how much larger it gets after a tenth of the
rows are through: from then on the process holds the list of all examples and a full
buffer, so what drifts is what the rows themselves leave behind. What the list costs is
counted apart, in bytes an example.
"""

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from tl_pipeline.evaluation.changes import compare_examples
from tl_pipeline.examples import Examples
from tl_pipeline.store.batches import Batch, Batches
from tl_pipeline.store.reading import read_rows
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.store import FeatureStore, open_store

SPEC = {"backbone": "benchmark", "store_dtype": "float16"}
CLASSES = 100


def make_content(rows: int) -> np.ndarray:
    """Returns [rows, 32] uint8 content digests."""
    content = np.empty((rows, 32), np.uint8)
    for i in range(rows):
        digest = hashlib.sha256(i.to_bytes(8, "big")).digest()
        content[i] = np.frombuffer(digest, np.uint8)
    return content


def make_features(content: np.ndarray, width: int) -> np.ndarray:
    """Returns the rows of some digests, [N, width] float16 in [1, 2) of either sign."""
    words = np.ascontiguousarray(content).view("<u8")  # [N, 4]
    factors = np.arange(width, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = words[:, np.arange(width) % 4] * (factors | np.uint64(1))
    bits = (mixed >> np.uint64(48)).astype(np.uint16)
    return ((bits & np.uint16(0x83FF)) | np.uint16(0x3C00)).view(np.float16)


def make_examples(content: np.ndarray, *, relabeled: int = 0) -> Examples:
    """Returns a table over some digests, sorted by class; the first are relabeled."""
    n = len(content)
    names = [f"class {i:02d}" for i in range(CLASSES)]
    labels = [names[i * CLASSES // n] for i in range(n)]
    labels[:relabeled] = [names[-1]] * relabeled
    splits = [("train", "val", "test")[i % 3] for i in range(n)]
    ids = tuple(f"{i:07d}.png" for i in range(n))
    return Examples("million", ids, content, tuple(labels), tuple(splits), (None,) * n)


def resident() -> int:
    """Returns the process's resident memory in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def timed(work: Callable[[], object]) -> float:
    """Returns the seconds of some work."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write(root: Path, rows: int, width: int) -> dict[str, float]:
    """Writes the store, and two snapshots."""
    before = resident()
    content = make_content(rows)
    store = FeatureStore.create_or_open(
        root,
        name="million",
        spec=SPEC,
        features={"pool": FeatureInfo((width,), "float16")},
        batch_size=1024,
    )
    found: dict[str, float] = {"path": str(store.path)}  # type: ignore[dict-item]
    with store.lock():
        start = time.perf_counter()
        (group,) = store.plan(content, ["pool"])
        found["plan, nothing stored"] = time.perf_counter() - start
        seconds, done, early, late = [], 0, 0, 0
        for i, place in enumerate(group.ranges):
            digests = group.content[place]
            arrays = {"pool": make_features(digests, width)}
            start = time.perf_counter()
            store.commit(group, i, content=digests, arrays=arrays, versions={})
            seconds.append(time.perf_counter() - start)
            done += len(digests)
            if not early and done >= rows // 10:
                early = resident()
            if early:
                late = max(late, resident())
        found["commit of a shard, median"] = statistics.median(seconds)
        found["commit of a shard, slowest"] = max(seconds)
        found["writing: RSS at a tenth, MiB"] = early / 2**20
        found["writing: largest RSS then, MiB"] = late / 2**20
        found["writing: drift, %"] = 100 * (late / early - 1)
        found["writing: bytes an example"] = (early - before) / rows
        examples = make_examples(content)
        found["snapshot write"] = timed(lambda: store.commit_snapshot(examples))
        changed = make_examples(content, relabeled=rows // 100)
        store.commit_snapshot(changed)
        found["plan, everything stored"] = timed(
            lambda: check(store.plan(content, ["pool"]) == [])
        )
    return found


def read(path: Path, rows: int, width: int) -> dict[str, float]:
    """Reads the store: its tables, and all rows in order and shuffled."""
    found = {"open": timed(lambda: open_store(path))}
    store = open_store(path)
    tables = []
    for entry in store.snapshots():
        start = time.perf_counter()
        tables.append(store.snapshot(digest=entry.digest))
        found["snapshot read"] = time.perf_counter() - start
    found["diff of two snapshots"] = timed(
        lambda: check(len(compare_examples(*tables).relabeled) > 0)
    )
    examples = tables.pop()
    tables.clear()
    before = resident()
    start = time.perf_counter()
    # A buffer that a tenth of the rows fills, or memory would grow until it is full.
    batches = Batches(store, "pool", snapshot=examples, buffer_rows=min(2**15, rows))
    found["find the rows of a snapshot"] = time.perf_counter() - start
    found["finding: RSS an example, bytes"] = (resident() - before) / rows

    early, late = consume(batches.shuffled(seed=0), examples, width, rows // 10)
    found["reading: RSS at a tenth, MiB"] = early / 2**20
    found["reading: largest RSS then, MiB"] = late / 2**20
    found["reading: drift, %"] = 100 * (late / early - 1)

    def whole_shards() -> None:
        for entry in store.manifest.shards:
            info = store.manifest.features["pool"]
            read_rows(path / "shards" / entry.name, entry, "pool", info)

    ways: dict[str, Callable[[], object]] = {
        "whole shards, GB/s": whole_shards,
        "batches in order, GB/s": lambda: sum(1 for _ in batches.in_order()),
        "batches shuffled, GB/s": lambda: sum(1 for _ in batches.shuffled(seed=1)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(5):  # side by side, for the machine may be shared
        for name, work in ways.items():
            speeds[name].append(2 * rows * width / timed(work) / 1e9)
    found |= {name: statistics.median(values) for name, values in speeds.items()}
    for name in ("in order", "whole shards"):
        base = next(values for key, values in speeds.items() if name in key)
        ratios = [a / b for a, b in zip(speeds["batches shuffled, GB/s"], base)]  # noqa: B905
        found[f"shuffled, of {name}"] = statistics.median(ratios)
    return found


def limited(path: Path, rows: int, width: int, limit: int) -> dict[str, float]:
    """Reads all rows, shuffled, in a process that may map `limit` MiB."""
    resource.setrlimit(resource.RLIMIT_AS, (limit * 2**20, limit * 2**20))
    store = open_store(path)
    batches = Batches(store, "pool", buffer_rows=min(2**15, rows))
    start = time.perf_counter()
    consume(batches.shuffled(seed=0), batches.examples, width, rows)
    size = sum(entry.bytes for entry in store.manifest.shards)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "limited: store, MiB": size / 2**20,
        "limited: address space, MiB": limit,
        "limited: peak RSS, MiB": peak,
        "limited: seconds": time.perf_counter() - start,
    }


def consume(
    epoch: Iterable[Batch], examples: Examples, width: int, tenth: int
) -> tuple[int, int]:
    """Reads an epoch, checks every row, and returns the RSS at a tenth and its peak."""
    seen = np.zeros(len(examples), bool)
    done = early = late = 0
    for features, rows in epoch:
        check(not seen[rows].any())
        seen[rows] = True
        check(features.dtype == np.float16)
        wanted = make_features(examples.content[rows], width)
        check(np.array_equal(features, wanted))
        done += len(rows)
        if not early and done >= tenth:
            early = resident()
        if early:
            late = max(late, resident())
    check(bool(seen.all()))
    return early, late


def check(is_right: bool) -> None:
    """Raises unless something is as it must be."""
    if not is_right:
        raise SystemExit("million_rows: the store gave something else")


def run(folder: Path, rows: int, width: int, limit: int) -> dict[str, float]:
    """Runs all parts, each in a process of its own, and deletes the store."""
    root = Path(tempfile.mkdtemp(dir=folder))
    found: dict[str, float] = {}
    try:
        where = str(root)
        for part in ("write", "read", "limited"):
            command = [sys.executable, __file__, "--part", part, "--folder", where]
            command += ["--rows", str(rows), "--width", str(width)]
            # Threads of a linear algebra that is not used would map their stacks.
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            done = subprocess.run(
                [*command, "--limit", str(limit)],
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            check(done.returncode == 0)
            figures = json.loads(done.stdout)
            where = figures.pop("path", where)
            found |= figures
    finally:
        shutil.rmtree(root)
    return found


def main() -> None:
    """Runs and prints the table; or, as a child, one part of it as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--width", type=int, default=2048)
    options.add_argument("--limit", type=int, default=1536, help="MiB")
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options.add_argument("--part", choices=["write", "read", "limited"])
    asked = options.parse_args()
    rows, width = asked.rows, asked.width
    if asked.part == "write":
        print(json.dumps(write(asked.folder, rows, width)))
    elif asked.part == "read":
        print(json.dumps(read(asked.folder, rows, width)))
    elif asked.part == "limited":
        print(json.dumps(limited(asked.folder, rows, width, asked.limit)))
    else:
        needed = int(2.2 * rows * width) + 2**30
        if shutil.disk_usage(asked.folder).free < needed:
            raise SystemExit(f"{asked.folder} has less than {needed / 1e9:.1f} GB free")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()}, {platform.platform()}")
        for name, value in run(asked.folder, rows, width, asked.limit).items():
            print(f"{name:<34}{value:>12,.2f}", flush=True)
        print(f"load {os.getloadavg()}")


if __name__ == "__main__":
    main()
