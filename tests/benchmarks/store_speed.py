"""Speed of the feature store beside plain NumPy files, in one run on one disk.

    python tests/benchmarks/store_speed.py --folder /tmp --repeats 5

Prints one table: a 64 MiB shard of float16 committed, against `np.save` and fsync; and
read, against `np.load`. Figures are the best of the repeats.
"""

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from tl_pipeline.store.reading import read_rows
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.store import FeatureStore

D = 8192
N = 4096  # 64 MiB of float16
INFO = FeatureInfo((D,), "float16")
SPEC = {"backbone": "benchmark", "store_dtype": "float16"}


def measure(work: Callable[[], object], before: Callable[[], None]) -> float:
    """Returns the seconds of some work, after something that is not counted."""
    before()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def save_synced(path: Path, rows: np.ndarray) -> None:
    """Does what a careful user of NumPy does."""
    with path.open("wb") as file:
        np.save(file, rows)
        file.flush()
        os.fsync(file.fileno())


def main() -> None:
    """Measures and prints the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options.add_argument("--repeats", type=int, default=5)
    arguments = options.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        seconds = run(folder, arguments.repeats)
    finally:
        shutil.rmtree(folder)

    size = N * D * 2
    print(f"{os.cpu_count()} cores, {platform.platform()}, h5py {h5py.__version__}")
    print(f"{'64 MiB of float16':<34}{'GB/s':>8}{'of NumPy':>10}{'asked':>8}")
    for name, against, asked in (
        ("np.save + fsync", None, ""),
        ("commit", "np.save + fsync", "15 %"),
        ("np.load", None, ""),
        ("first read, verified", "np.load", "5 %"),
        ("later read, by chunk offsets", "np.load", "60 %"),
        ("later read, through h5py", "np.load", ""),
    ):
        ratio = f"{seconds[against] / seconds[name]:.0%}" if against else ""
        print(f"{name:<34}{size / seconds[name] / 1e9:>8.2f}{ratio:>10}{asked:>8}")


def run(folder: Path, repeats: int) -> dict[str, float]:
    """Returns the best seconds of each piece of work, interleaved for fairness."""
    rng = np.random.default_rng(0)
    best: dict[str, float] = {}

    def keep(name: str, work: Callable[[], object], before=lambda: None) -> None:
        seconds = measure(work, before)
        best[name] = min(seconds, best.get(name, seconds))

    for repeat in range(repeats):
        rows = rng.standard_normal((N, D), np.float32).astype(np.float16)
        content = rng.integers(0, 256, (N, 32), np.uint8)
        plain = folder / f"{repeat}.npy"
        keep("np.save + fsync", lambda: save_synced(plain, rows))  # noqa: B023
        store = FeatureStore.create_or_open(
            folder,
            name=f"benchmark-{repeat}",
            spec=SPEC,
            features={"pool": INFO},
            batch_size=1,
        )
        with store.lock():
            (group,) = store.plan(content, ["pool"])
            keep(
                "commit",
                lambda: store.commit(  # noqa: B023
                    group,  # noqa: B023
                    0,
                    content=group.content,  # noqa: B023
                    arrays={"pool": rows},  # noqa: B023
                    versions={},
                ),
            )
        entry = store.manifest.shards[0]
        path = store.path / "shards" / entry.name

        def read() -> np.ndarray:
            return read_rows(path, entry, "pool", INFO)  # noqa: B023

        def read_h5py() -> np.ndarray:
            with h5py.File(path) as file:  # noqa: B023
                return file["features/pool"][...]

        keep("first read, verified", read)
        for _ in range(3):
            keep("np.load", lambda: np.load(plain))  # noqa: B023
            keep("later read, by chunk offsets", read)
            keep("later read, through h5py", read_h5py)
        assert np.array_equal(read(), rows)
    return best


if __name__ == "__main__":
    main()
