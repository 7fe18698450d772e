"""What fine-tuning gains over the cached head on photographs, and what it costs.

    python tests/benchmarks/finetune_gain.py DATA [--weights FILE] [--ways split ...]

DATA is a folder of class folders, or of `train`, `val` and `test` with class folders.
The head is chosen as `train` chooses it; each way starts from it, once a seed, which is
of the order of examples, of views and of dropout. Test is the data's own, or carved by
digest, the same for all. Prints one Markdown row a way: the mean over seeds with the
least and the largest, the interval of the first seed over examples, the test errors
left of 100 of the head's, the paired tests, and what the ways cost.
"""

import argparse
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.finetune import finetune
from tl_pipeline.stages.train import train


def make_row(rows: list[Mapping[str, Any]], head: Mapping[str, Any]) -> list[str]:
    """Returns the cells of one way, from its row of each seed."""
    values = np.array([row["value"] for row in rows])
    left = 100 * (1 - values.mean()) / max(1e-9, 1 - head["value"])
    first = rows[0]
    against = [row["against"] for row in rows if row["against"]]
    memory = first["memory"]
    seconds = [row["seconds"] for row in rows]
    return [
        first["way"],
        f"{values.mean():.4f} ({values.min():.4f} to {values.max():.4f})",
        f"{first['low']:.3f} to {first['high']:.3f}",
        f"{left:.0f} %",
        ", ".join(f"{one['p_value']:.2g}" for one in against) or "–",
        ", ".join(f"{one['better']}:{one['worse']}" for one in against) or "–",
        ", ".join(str(row["best_epoch"] or "–") for row in rows) if against else "–",
        "–" if None in seconds else f"{np.mean(seconds):.0f} s",
        "–" if memory is None else f"{memory / 2**20:.0f} MiB",
    ]


def main() -> None:
    """Trains, fine-tunes, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="pretrained")
    parser.add_argument("--ways", nargs="+", default=["split"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--unfreeze-last-blocks", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--augment", default="light")
    parser.add_argument("--folder", help="where stores and runs are kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(given.folder or temporary)
        extracted = extract(
            load_dataset(given.data),
            load_backbone(given.backbone, weights=given.weights),
            features=["pool"],
            store_root=root / "stores",
        )
        run = train(extracted.store, run_root=root / "runs").run
        found: dict[str, list[Mapping[str, Any]]] = {}
        for seed in range(given.seeds):
            report = finetune(
                run,
                ways=given.ways,
                unfreeze_last_blocks=given.unfreeze_last_blocks,
                learning_rate=given.learning_rate,
                head_learning_rate=given.learning_rate,
                epochs=given.epochs,
                augment=given.augment,
                seed=seed,
            )
            for row in report.rows:
                found.setdefault(row["way"], []).append(row)
            print(f"seed {seed}: {report.sentence}", flush=True)
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax")
    )
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, {versions}; {given}\n")
    names = ["way", "test accuracy", "95 %", "errors left", "p", "better:worse"]
    names += ["best epoch", "took", "memory of a step"]
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    head = found["cached head"][0]
    for rows in found.values():
        print("| " + " | ".join(make_row(rows, head)) + " |")


if __name__ == "__main__":
    main()
