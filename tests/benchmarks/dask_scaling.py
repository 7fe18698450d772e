r"""Extraction by one process, and by two and four Dask workers of the same machine.

python tests/benchmarks/dask_scaling.py --images PHOTOS --weights WEIGHTS.h5
python tests/benchmarks/dask_scaling.py --images PHOTOS --backbone pixels \
    --decode-delay 0.05

Rates are of what follows the first range of each worker, which starts it, loads the
backbone and compiles; these seconds stand apart. With `--decode-delay` each picture
takes so many seconds more to read, without any core, as from slow storage, and each
process reads one after another: so scale machines with cores of their own.
"""

import argparse
import dataclasses
import functools
import math
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from flows.extract import extraction
from tl_pipeline.config import make_config
from tl_pipeline.data.dataset import Dataset, Item, read_file
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.progress import telling
from tl_pipeline.stages import pipeline
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.store import schema
from tl_pipeline.store.store import open_store

RANGE = 32  # rows of a range, two batches
BATCH = 16


class SlowReader:
    """Reads a file after a while."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def __call__(self, item: Item) -> bytes:
        time.sleep(self.seconds)
        return read_file(item)


class Moments:
    """Keeps when rows were done."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.done: list[tuple[float, int]] = []
        self._what = ""

    def start(self, what: str, total: int) -> None:
        del total
        self._what = what

    def advance(self, n: int) -> None:
        if self._what == "extract":
            self.done.append((time.perf_counter(), n))

    def finish(self) -> None:
        self._what = ""

    def measure(self, n_workers: int) -> tuple[float, float]:
        """Returns rows/s after the first range of each worker, and seconds before."""
        skipped, rows = 0, 0
        while rows < RANGE * n_workers:
            rows += self.done[skipped][1]
            skipped += 1
        first, last = self.done[skipped - 1][0], self.done[-1][0]
        return sum(n for _, n in self.done[skipped:]) / (last - first), (
            first - self.begin
        )


def write_copies(images: Path, folder: Path, copies: int) -> Path:
    """Writes photographs several times, with bytes at the end that no decoder reads."""
    for path in sorted(images.rglob("*.jp*g")):
        for copy in range(copies):
            name = f"{copy}-{path.name}"
            target = folder / path.parent.name / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes() + bytes([copy]))
    return folder


def run(
    n_workers: int, images: Path, backbone: dict[str, str], root: str, delay: float
) -> tuple[float, float]:
    """Runs the flow of an extraction by some workers, 0 for this process alone."""

    def load(*args: Any, **options: Any) -> Dataset:
        dataset = load_dataset(*args, **options)
        return dataclasses.replace(dataset, reader=SlowReader(delay))

    # What no configuration asks for: slow storage, and one thread that reads from it.
    if delay:
        pipeline.load_dataset = load  # type: ignore[assignment]
        pipeline.extract = functools.partial(extract, workers=1)  # type: ignore
    asked = {
        "data": {"source": str(images), "max_failures": 0.5},
        "backbone": backbone,
        "store": {"root": root, "batch_size": BATCH},
        "extract": {
            "runner": "dask" if n_workers else "local",
            "dask_workers": n_workers or 1,
        },
        "baselines": {"names": []},
    }
    moments = Moments()
    with telling(moments):
        extraction(make_config(asked, where="of the benchmark"))
    return moments.measure(max(1, n_workers))


def read_rows(root: str) -> np.ndarray:
    """Returns all rows of the one store under a root, by their content."""
    (path,) = Path(root).glob("*/store.json")
    rows, content = open_store(path.parent).rows("pool")
    return rows[np.lexsort(content.T)]


def main() -> None:
    """Measures, and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--decode-delay", type=float, default=0.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    backbone = {"name": arguments.backbone, "weights": arguments.weights}
    shape = load_backbone(**backbone).feature_shapes()["pool"]
    schema.SHARD_BYTES = RANGE * 2 * math.prod(shape)
    delay = arguments.decode_delay
    found: dict[int, list[tuple[float, float]]] = {0: []}
    with tempfile.TemporaryDirectory() as folder:
        images = write_copies(arguments.images, Path(folder), arguments.copies)
        n = len(load_dataset(images))
        for _ in range(arguments.repeats):  # in turn: the machine's speed drifts
            rows = None
            for n_workers in (0, *arguments.workers):
                with tempfile.TemporaryDirectory() as root:
                    measured = run(n_workers, images, backbone, root, delay)
                    found.setdefault(n_workers, []).append(measured)
                    rows = read_rows(root) if rows is None else rows
                    np.testing.assert_array_equal(read_rows(root), rows)
    what = f", {delay:g} s more a picture" if delay else ""
    print(
        f"\n{os.cpu_count()} cores, {n} photographs{what}; medians of "
        f"{arguments.repeats} rounds, all rows equal\n"
    )
    print(f"| {arguments.backbone}, pool | images/s | of one process | before, s |")
    print("|---|---|---|---|")
    for n_workers, measured in found.items():
        rate, before = map(statistics.median, zip(*measured, strict=True))
        pairs = zip(measured, found[0], strict=True)
        ratio = statistics.median(ours[0] / one[0] for ours, one in pairs)
        name = f"{n_workers} workers" if n_workers else "one process"
        print(f"| {name} | {rate:.0f} | {ratio:.2f} | {before:.1f} |")


if __name__ == "__main__":
    main()
