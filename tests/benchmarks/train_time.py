"""`train` from the shell prompt to the report, on a warm store: cold, and unchanged.

python tests/benchmarks/train_time.py [--rows 5000] [--features 1280]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tl_pipeline.stages.import_features import import_features


def main() -> None:
    """Measures whole processes, and prints their seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--classes", type=int, default=10)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    targets = rng.integers(0, asked.classes, asked.rows)
    centers = 0.1 * rng.normal(size=(asked.classes, asked.features))
    rows = np.maximum(centers[targets] + rng.normal(size=(asked.rows, 1)) * 0.1, 0)
    rows += 0.3 * rng.random((asked.rows, asked.features))
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "rows.npz"
        np.savez(
            path,
            pool=rows.astype(np.float32),
            target=np.array([f"class {target}" for target in targets]),
            id=np.array([f"{row:06}" for row in range(asked.rows)]),
        )
        store = import_features(
            [path], store_root=f"{root}/stores", backbone="b", weights="w", dataset="d"
        ).store
        command = [sys.executable, "-m", "tl_pipeline.cli", "train", "--store", store]
        for what in ("compiled anew", "compiled before"):
            seconds = []
            for _ in range(3):
                begin = time.perf_counter()
                runs = ["--run-root", f"{root}/runs {what}"]
                environment = os.environ | {"XDG_CACHE_HOME": f"{root}/cache"}
                subprocess.run(
                    [*command, *runs],
                    check=True,
                    capture_output=True,
                    env=environment,
                )
                seconds.append(time.perf_counter() - begin)
            again = statistics.median(seconds[1:])
            print(f"{what}: {seconds[0]:.1f} s; with nothing changed {again:.2f} s")


if __name__ == "__main__":
    main()
