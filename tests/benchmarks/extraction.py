"""End-to-end extraction against its bounds, in one run: bare forward, decoding alone.

    python tests/benchmarks/extraction.py [--images FOLDER] [--weights FILE]

Without --images it writes photograph-sized JPEG files of its own. The bound of a
pipeline that overlaps perfectly on cores that decoding and forward share is
1 / (1 / decode + 1 / forward). Prints one Markdown row a measurement, and peak memory.
"""

import argparse
import concurrent.futures
import importlib.metadata
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.preprocessing import preprocess_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import Backbone, load_backbone
from tl_pipeline.stages.extract import extract


def write_images(folder: Path, n: int) -> Path:
    """Writes n smooth 500x375 JPEG files in two class folders."""
    rng = np.random.default_rng(0)
    for i in range(n):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        image = small.resize((500, 375), Image.Resampling.BICUBIC)
        path = folder / ("ants", "bees")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
    return folder


def measure_forward(backbone: Backbone, batch_size: int, n: int) -> float:
    """Returns images/s of the compiled forward, dispatched one batch ahead."""
    forward = backbone.make_forward(["pool"])
    shape = (batch_size, *backbone.preprocess.input_shape)
    batch = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.asarray(forward(batch)["pool"])
    begin = time.perf_counter()
    running = forward(batch)
    for _ in range(n // batch_size - 1):
        following = forward(batch)
        np.asarray(running["pool"])
        running = following
    np.asarray(running["pool"])
    return n // batch_size * batch_size / (time.perf_counter() - begin)


def measure_decoding(folder: Path, backbone: Backbone) -> float:
    """Returns images/s of decoding and preprocessing alone, on all cores."""
    dataset = load_dataset(folder)

    def load(item) -> None:  # type: ignore[no-untyped-def]
        preprocess_image(decode_image(dataset.read(item)), backbone.preprocess)

    begin = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(load, dataset.items))
    return len(dataset) / (time.perf_counter() - begin)


def measure_extract(folder: Path, backbone: Backbone, batch_size: int) -> float:
    """Returns images/s from files to a committed store, hashing and checks included."""
    with tempfile.TemporaryDirectory() as root:
        begin = time.perf_counter()
        report = extract(
            load_dataset(folder),
            backbone,
            features=["pool"],
            store_root=root,
            batch_size=batch_size,
        )
        return report.rows_computed / (time.perf_counter() - begin)


def measure_train(folder: Path, weights: str) -> tuple[float, float]:
    """Returns seconds of `train`, cold and with nothing changed, as whole processes."""
    with tempfile.TemporaryDirectory() as root:
        store = extract(
            load_dataset(folder),
            load_backbone("mobilenet_v2", weights=weights),
            features=["pool"],
            store_root=root,
        ).store
        command = [sys.executable, "-m", "tl_pipeline.cli", "train", "--store", store]
        seconds = []
        for _ in range(4):
            begin = time.perf_counter()
            runs = ["--run-root", f"{root}/runs"]
            subprocess.run([*command, *runs], check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
        return seconds[0], statistics.median(seconds[1:])


def main() -> None:
    """Measures, and prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", default="random:0")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = arguments.images or write_images(Path(folder), 400)
        backbone = load_backbone("mobilenet_v2", weights=arguments.weights)
        rows = []
        for _ in range(arguments.repeats):  # in turn: the machine's speed drifts
            forward = measure_forward(backbone, arguments.batch_size, 256)
            decoding = measure_decoding(images, backbone)
            rows.append(
                (
                    forward,
                    decoding,
                    1 / (1 / forward + 1 / decoding),
                    measure_extract(images, backbone, arguments.batch_size),
                )
            )
        cold, warm = measure_train(images, arguments.weights)
    forward, decoding, bound, end_to_end = map(
        statistics.median, zip(*rows, strict=True)
    )
    of_forward = statistics.median(row[3] / row[0] for row in rows)
    of_bound = statistics.median(row[3] / row[2] for row in rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}"
        for name in ("jax", "flax", "pillow")
    )
    device = jax.devices()[0].device_kind
    print(f"{platform.machine()}, {os.cpu_count()} cores, {device}; {versions}\n")
    print("| MobileNetV2, 224x224, pool | images/s |\n|---|---|")
    print(
        f"| compiled forward alone, batches of {arguments.batch_size} | {forward:.0f} |"
    )
    print(f"| decoding and preprocessing alone | {decoding:.0f} |")
    print(f"| end to end, files to store | {end_to_end:.0f} |")
    print(f"\nend to end / forward {of_forward:.2f}, / bound {of_bound:.2f}")
    print(f"peak memory {peak:.2f} GiB")
    print(f"train as a process: {cold:.1f} s, with nothing changed {warm:.2f} s")


if __name__ == "__main__":
    main()
