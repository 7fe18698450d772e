"""What Prefect costs a run: on a running server, and where it has to start its own.

    python tests/benchmarks/flow_overhead.py [--rounds 3] [--starts 20]

Each run is a process of its own with nothing left to compute, so its time is start-up
and overhead. Prints seconds; then how many of the starts on a fresh Prefect home, one
after another and three at once, ended well.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

CONFIG = """
[data]
source = "builtin:digits-shifted"
[backbone]
name = "pixels"
[store]
root = "{root}/stores"
[baselines]
names = []
[heads]
l2 = [0.1]
[run]
root = "{root}/runs"
"""


def start(root: Path, engine: str, **more: str) -> subprocess.Popen[bytes]:
    """Starts a run."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT")}
    words = ["run", str(root / "pipeline.toml"), "--engine", engine]
    return subprocess.Popen(
        [sys.executable, "-m", "tl_pipeline.cli", *words],
        env=known | {"DO_NOT_TRACK": "1"} | more,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def time_run(root: Path, engine: str, **more: str) -> float:
    """Returns the seconds of a run that ends well."""
    begin = time.perf_counter()
    process = start(root, engine, **more)
    _, said = process.communicate()
    assert process.returncode == 0, said.decode()
    return time.perf_counter() - begin


def serve(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Starts a Prefect server, and returns it with its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/api"
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return server, url
        except OSError:
            time.sleep(0.5)


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "pipeline.toml").write_text(CONFIG.format(root=root))
        time_run(root, "local")
        server, url = serve(root / "server")
        try:
            time_run(root, "prefect", PREFECT_API_URL=url)
            rounds = [
                (
                    time_run(root, "local"),
                    time_run(root, "prefect", PREFECT_API_URL=url),
                )
                for _ in range(asked.rounds)
            ]
        finally:
            server.terminate()
            server.wait()
        local, flow = map(statistics.median, zip(*rounds, strict=True))
        print(f"local {local:.1f} s; flow on a server {flow:.1f} s", flush=True)
        seconds, good = [], 0
        for i in range(asked.starts):
            home = root / f"home {i}"
            begin = time.perf_counter()
            process = start(root, "prefect", PREFECT_HOME=str(home))
            process.communicate()
            seconds.append(time.perf_counter() - begin)
            good += process.returncode == 0
            shutil.rmtree(home)
        print(f"{good} of {asked.starts} starts, {statistics.median(seconds):.1f} s")
        homes = [root / f"together {i}" for i in range(3)]
        together = [start(root, "prefect", PREFECT_HOME=str(home)) for home in homes]
        for process in together:
            process.communicate()
        good = sum(process.returncode == 0 for process in together)
        print(f"{good} of 3 at once")


if __name__ == "__main__":
    main()
