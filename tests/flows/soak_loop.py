"""Runs in a row under trouble, by a real server and a real worker.

    unshare -rUmn python tests/flows/soak_loop.py ROOT RUNS SEED [TROUBLE ...]

TROUBLEs come first, then each kind, then drawn ones. ROOT is a folder on which a small
disk is mounted; of networks there is the loopback alone, so that nothing can go out,
and what tries is counted. Prints a line of JSON for each run: its trouble, its state
and what the state says; then one of what is left.
"""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TROUBLES = (
    *("grow", "kill run", "restart server", "full disk", "kill worker", "none"),
    "lose machine",
)
CONFIG = """
[data]
source = "{root}/photos"
[backbone]
name = "squeezenet1_1"
weights = "random:0"
features = ["pool"]
[baselines]
names = []
[heads]
l2 = [0.1, 1.0]
[store]
root = "{root}/disk/stores"
[run]
root = "{root}/runs"
"""
UNFINISHED = ("RUNNING", "PENDING", "SCHEDULED", "CANCELLING")
SILENCE = 60  # seconds, after which a lost run is given up
PORT = 4200


def raise_loopback() -> None:
    """Switches the network to itself on, which a new name space has off."""
    with socket.socket() as any_socket:
        request = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def count_refused() -> int:
    """Returns how many packets found no way out of this network."""
    names, values = (
        line.split()[1:]
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Ip:")
    )
    return int(values[names.index("OutNoRoutes")])


class Night:
    """A server, a worker, a deployment and its data."""

    def __init__(self, root: Path, seed: int):
        self.root = root
        self.rng = random.Random(seed)
        self.pictures = np.random.default_rng(seed)
        self.api = f"http://127.0.0.1:{PORT}/api"
        self.environment = os.environ | {
            "PREFECT_HOME": str(root / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "1",
        }
        (root / "pipeline.toml").write_text(CONFIG.format(root=root))
        self.grow(60)
        self.server = self.start_server()
        self.run("prefect", "work-pool", "create", "nights", "--type", "process")
        # Prefect's own command looks for its list of workers elsewhere; we do not.
        self.refused = count_refused()
        self.run(
            *("tl_pipeline.cli", "schedule", str(root / "pipeline.toml"), "--pause"),
            *("--cron", "0 3 * * *", "--work-pool", "nights", "--name", "soak"),
            *("--retries", "0", "--lost-after", str(SILENCE)),
        )
        self.worker = self.start_worker()
        (found,) = self.post("/deployments/filter")
        self.deployment = found["id"]

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Starts `python -m ARGV`, its words in a file for whoever looks."""
        with (self.root / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *argv],
                env=self.environment,
                cwd=self.root,
                stdout=log,
                stderr=log,
            )

    def run(self, *argv: str) -> None:
        """Runs `python -m ARGV` to its good end."""
        subprocess.run(
            [sys.executable, "-m", *argv],
            env=self.environment,
            cwd=self.root,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start_server(self) -> subprocess.Popen[bytes]:
        """Starts the server and waits until it answers."""
        where = ["--host", "127.0.0.1", "--port", str(PORT)]
        server = self.start("prefect", "server", "start", *where)
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.api + "/health", timeout=5).close()
                return server
            time.sleep(0.5)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Starts a worker of the pool."""
        return self.start("prefect", "worker", "start", "--pool", "nights")

    def post(self, path: str, **body: Any) -> Any:
        """Asks the server's API, again where it is busy."""
        request = urllib.request.Request(
            self.api + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for _ in range(60):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            time.sleep(1)
        raise TimeoutError(path)

    def state(self, run: str) -> dict[str, Any]:
        """Returns the state that a run is in."""
        found = self.post("/flow_runs/filter", flow_runs={"id": {"any_": [run]}})
        return found[0]["state"]

    def wait(self, run: str, *kinds: str) -> dict[str, Any]:
        """Waits until a run is in a state of one of these types."""
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # a server that restarts
                state = self.state(run)
                if state["type"] in kinds:
                    return state
            time.sleep(0.3)
        raise TimeoutError(f"run {run} is still {self.state(run)}")

    def grow(self, n: int) -> None:
        """Adds pictures of two classes, told apart by their brightness."""
        for i in range(n):
            folder = self.root / "photos" / ("dark", "light")[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            pixels = self.pictures.normal(80 + 90 * (i % 2), 30, (64, 64, 3))
            name = f"{len(list(folder.iterdir()))}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)

    def processes_of(self, run: str) -> list[int]:
        """Returns the processes that execute a run."""
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and run in (
                    (folder / "environ").read_text() + (folder / "cmdline").read_text()
                ):
                    found.append(int(folder.name))
        return found

    def kill(self, run: str) -> None:
        """Kills whatever executes a run."""
        for process in self.processes_of(run):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def meet(self, trouble: str) -> dict[str, Any]:
        """Has one run go, its trouble on the way; returns what came of it."""
        ballast = self.root / "disk" / "ballast"
        if trouble != "none":
            self.grow(10)
        if trouble == "full disk":
            free = os.statvfs(ballast.parent)
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                file.write(bytes(free.f_bavail * free.f_bsize - 4096))
        run = self.post(f"/deployments/{self.deployment}/create_flow_run")["id"]
        if trouble not in ("none", "grow", "full disk"):
            self.wait(run, "RUNNING", "COMPLETED")
            time.sleep(self.rng.uniform(0, 3))
        if trouble == "kill run":
            self.kill(run)
        if trouble in ("kill worker", "lose machine"):
            self.worker.kill()
            self.worker.wait()
            if trouble == "lose machine":
                self.kill(run)
            self.worker = self.start_worker()
        if trouble == "restart server":
            self.server.terminate()
            self.server.wait()
            self.server = self.start_server()
        state = self.wait(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        ballast.unlink(missing_ok=True)
        said = {"name": state["name"], "says": state["message"] or ""}
        return {"trouble": trouble, "type": state["type"], **said}

    def end(self) -> dict[str, Any]:
        """Stops all and returns what is left."""
        self.worker.send_signal(signal.SIGINT)
        self.worker.wait(60)
        (store,) = (self.root / "disk" / "stores").glob("squeezenet*")
        verified = subprocess.run(
            [sys.executable, "-m", "tl_pipeline.cli", "store", "verify", str(store)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )
        unfinished = self.post(
            "/flow_runs/filter",
            flow_runs={
                "state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED"]}}
            },
        )
        self.server.terminate()
        self.server.wait(60)
        time.sleep(2)
        left = subprocess.run(
            ["pgrep", "-af", str(self.root)], capture_output=True, text=True
        )
        ours = [x for x in left.stdout.splitlines() if "soak_loop" not in x]
        return {
            "verified": verified.returncode == 0,
            "unfinished": [one["state"]["name"] for one in unfinished],
            "processes": ours,
            "refused": count_refused() - self.refused,
        }


def main() -> None:
    """Runs the loop."""
    root, n_runs, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    raise_loopback()
    (root / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(root / "disk")]
    subprocess.run(mount, check=True)
    night = Night(root, seed)
    order = [*sys.argv[4:], *TROUBLES, *night.rng.choices(TROUBLES, k=n_runs)]
    try:
        for trouble in [*order[: n_runs - 1], "none"]:
            print(json.dumps(night.meet(trouble)), flush=True)
        print(json.dumps(night.end()), flush=True)
    finally:
        night.worker.kill()
        night.server.kill()
        shutil.rmtree(root / "disk" / "stores", ignore_errors=True)


if __name__ == "__main__":
    main()
