"""A store in a bucket against one on disk: extracting, again, and training from it.

    python tests/benchmarks/object_storage.py

The server is moto's, on loopback: what is measured is our own work and the requests,
not a network. The stores alternate; medians of a few rounds.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tl_pipeline as tl
from tl_pipeline.files import cache_folder
from tl_pipeline.object_paths import ObjectPath
from tl_pipeline.places import Place

ROUNDS = 4
STEPS = ("extract", "the same again", "train, no copy", "train, copies there")


def measure(root: Place, runs: Path) -> list[float]:
    """Returns the seconds of each step."""
    dataset, backbone = tl.load_dataset("builtin:digits"), tl.load_backbone("pixels")
    seconds, store = [], ""
    for step in STEPS:
        if step == "train, no copy":
            shutil.rmtree(cache_folder("objects"), ignore_errors=True)
        begin = time.perf_counter()
        if step.startswith("train"):
            tl.train(store, run_root=runs / step, kinds=["ridge"])
        else:
            asked = {"features": ["pool"], "store_root": root}
            store = tl.extract(dataset, backbone, **asked).store
        seconds.append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    script = Path(__file__).parents[1] / "s3_server.py"
    server = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
            "XDG_CACHE_HOME": folder,
        }
        bucket = ObjectPath("benchmark", "")
        bucket._call("create_bucket")
        found: dict[str, list[list[float]]] = {"bucket": [], "disk": []}
        measure(Path(folder) / "first", Path(folder) / "first-runs")  # compiles
        for i in range(ROUNDS):
            for name, root in (("bucket", bucket / f"{i}"), ("disk", Path(folder))):
                root = root / "stores" / f"{i}"
                runs = Path(folder) / "runs" / f"{name}{i}"
                found[name].append(measure(root, runs))
    server.kill()
    for i, step in enumerate(STEPS):
        there, here = (
            statistics.median(seconds[i] for seconds in found[name])
            for name in ("bucket", "disk")
        )
        print(f"{step}: {there:.2f} s, on disk {here:.2f} s, {there / here:.2f} of it")


if __name__ == "__main__":
    main()
