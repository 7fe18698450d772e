"""Texts from a table to stored features, beside transformers and PyTorch.

    python tests/benchmarks/text_against_torch.py --torch-python PYTHON --weights FOLDER
        --data trec.csv [--rounds 3]

PYTHON has torch and transformers; FOLDER holds all-MiniLM-L6-v2 as it is published.
Both sides read the same table in the same run, in turn, in float32, on all cores.
PyTorch runs batches of 64 sorted by length, after a warm-up; ours digests every text,
checks rows against live ones and commits them with checksums, in batches of 32 by
length, what was compiled before being read from the persistent cache. Prints a
Markdown row; on cores that others use too, look at the ratio of processor time.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import jax

from tl_pipeline.allocation import keep_freed_memory
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.extract import extract

BATCH = 32  # twice of it would leave more rows of the last batches empty


def measure_ours(
    table: Path, backbone: Backbone, root: str
) -> tuple[float, float, int]:
    """Returns texts/s from table to store, processor seconds a text, and texts."""
    begin, used = time.perf_counter(), time.process_time()
    report = extract(
        load_dataset(table),
        backbone,
        features=["sentence"],
        store_root=root,
        batch_size=BATCH,
    )
    seconds = time.perf_counter() - begin
    used = (time.process_time() - used) / report.examples
    return report.examples / seconds, used, report.examples


def measure_theirs(
    python: str, folder: Path, table: Path, out: Path
) -> tuple[float, float]:
    """Returns texts/s of transformers and PyTorch, and processor seconds a text."""
    script = Path(__file__).with_name("torch_texts.py")
    done = subprocess.run(
        list(map(str, [python, script, folder, table, out])),
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return found["rate"], found["used"]


def main() -> None:
    """Measures, and prints the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-python", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command line does
    print(f"{platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        # As the command line has it: what was compiled once is read from disk.
        jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        backbone = load_backbone("minilm_l6", weights=arguments.weights)
        first, _, n = measure_ours(arguments.data, backbone, f"{folder}/first")
        ours, theirs = [], []
        out = Path(folder) / "rows.npy"
        for i in range(arguments.rounds):
            theirs.append(
                measure_theirs(
                    arguments.torch_python, arguments.weights, arguments.data, out
                )
            )
            jax.clear_caches()
            ours.append(measure_ours(arguments.data, backbone, f"{folder}/{i}")[:2])
    ratios = [a / b for (a, _), (b, _) in zip(ours, theirs, strict=True)]
    used = [b / a for (_, a), (_, b) in zip(ours, theirs, strict=True)]
    ours_rate, theirs_rate = (
        statistics.median(rate for rate, _ in rates) for rates in (ours, theirs)
    )
    print(
        "| texts | ours, texts/s | transformers + PyTorch | ratio | of rounds | "
        "ratio of processor time | ours, compiled anew |\n|---|---|---|---|---|---|---|"
    )
    print(
        f"| {n:,} | {ours_rate:.0f} | {theirs_rate:.0f} | "
        f"{statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | "
        f"{statistics.median(used):.2f} | {first:.0f} |"
    )


if __name__ == "__main__":
    main()
