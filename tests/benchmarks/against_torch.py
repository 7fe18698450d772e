"""Extraction from JPEG files to stored features, beside timm and PyTorch.

    python tests/benchmarks/against_torch.py --photos FOLDER --torch-python PYTHON
        [--backbones mobilenet_v2 ...] [--images 384] [--rounds 2]

PYTHON has torch and timm. Both sides read the same files in the same run, in turn, with
float32, batches of 32 and random weights; PyTorch has the better of no and two workers,
once as it is, and once with freed memory kept, as our command line keeps it.
Ours hashes every file, checks rows against live ones and commits them with checksums,
compilation from the persistent cache included. The bound is 1 / (1 / decode +
1 / forward), each alone on all cores. Prints one Markdown row a backbone.
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
from extraction import measure_decoding, measure_forward

from tl_pipeline.allocation import keep_freed_memory
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.extract import extract

# Ours, and what timm calls the same network.
TIMM = {
    "mobilenet_v2": "mobilenetv2_100",
    "efficientnet_b0": "efficientnet_b0",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "resnet50": "resnet50",
    "vgg16": "vgg16",
    "vit_small_patch16": "vit_small_patch16_224",
    "dinov2_small": "vit_small_patch14_dinov2",
}
BATCH = 32
# What `keep_freed_memory` asks of malloc, for PyTorch.
KEPT = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_ARENA_MAX": "1",
}


def copy_photos(source: Path, folder: Path, n: int) -> None:
    """Writes n files of different bytes that decode like the photographs."""
    photos = sorted(source.rglob("*.jpg"))
    for i in range(n):
        target = folder / f"class{i % 2}" / f"{i:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        # What follows the end of a JPEG file is not read.
        target.write_bytes(photos[i % len(photos)].read_bytes() + i.to_bytes(4, "big"))


def measure_ours(folder: Path, backbone: Backbone) -> float:
    """Returns images/s from files to a committed store."""
    with tempfile.TemporaryDirectory() as root:
        begin = time.perf_counter()
        report = extract(
            load_dataset(folder),
            backbone,
            features=["pool"],
            store_root=root,
            batch_size=BATCH,
        )
        return report.rows_computed / (time.perf_counter() - begin)


def measure_theirs(
    python: str, folder: Path, name: str, size: int, resize: int, **more: str
) -> float:
    """Returns images/s of timm and PyTorch, the better of no and two workers."""
    script = Path(__file__).with_name("torch_extraction.py")
    with tempfile.TemporaryDirectory() as root:
        words = [python, script, folder, name, size, resize, f"{root}/rows.npy"]
        done = subprocess.run(
            [*map(str, words)],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | more,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return max(found["0 workers"], found["2 workers"])


def main() -> None:
    """Measures, and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--torch-python", required=True)
    parser.add_argument("--backbones", nargs="+", default=list(TIMM))
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    keep_freed_memory()  # as the command line does
    print(f"{platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}\n")
    print(
        "| backbone | ours, images/s | timm + PyTorch | ratio | with memory kept | "
        "ratio | of the bound | compile, s |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        # As the command line has it: what was compiled once is read from disk.
        jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        photos = Path(folder) / "photos"
        copy_photos(arguments.photos, photos, arguments.images)
        for name in arguments.backbones:
            backbone = load_backbone(name, weights="random:0")
            size = backbone.preprocess.input_shape[0]
            resize = backbone.preprocess.resize_size or size
            begin = time.perf_counter()
            forward = measure_forward(backbone, BATCH, BATCH)
            compiling = time.perf_counter() - begin - 2 * BATCH / forward
            rounds = []
            for _ in range(arguments.rounds):
                words = arguments.torch_python, photos, TIMM[name], size, resize
                theirs = measure_theirs(*words)
                ours = measure_ours(photos, backbone)
                kept = measure_theirs(*words, **KEPT)
                forward = measure_forward(backbone, BATCH, 4 * BATCH)
                decode = measure_decoding(photos, backbone)
                bound = 1 / (1 / decode + 1 / forward)
                figures = (ours, theirs, ours / theirs, kept, ours / kept, ours / bound)
                rounds.append(figures)
            found = [statistics.median(one) for one in zip(*rounds, strict=True)]
            ours, theirs, ratio, kept, kept_ratio, of_bound = found
            print(
                f"| {name} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | {kept:.1f} | "
                f"{kept_ratio:.2f} | {of_bound:.2f} | {compiling:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
