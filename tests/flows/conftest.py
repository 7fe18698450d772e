"""One Prefect server for all tests of the flows."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[data]
source = "builtin:digits-shifted"
[backbone]
name = "pixels"
[store]
root = "{root}/stores"
[heads]
l2 = [0.01, 0.1]
[run]
root = "{root}/runs"
"""


@dataclasses.dataclass(frozen=True)
class Server:
    """A Prefect server, and the environment that leads to it."""

    environment: dict[str, str]

    def post(self, path: str, **body: Any) -> Any:
        """Asks the server's API."""
        request = urllib.request.Request(
            self.environment["PREFECT_API_URL"] + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def delete(self, path: str) -> None:
        """Has the server's API delete something."""
        url = self.environment["PREFECT_API_URL"] + path
        urllib.request.urlopen(
            urllib.request.Request(url, method="DELETE"), timeout=30
        ).close()

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Starts `python -m ARGV` beside it."""
        return subprocess.Popen(
            [sys.executable, "-m", *argv],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *argv: str, without: Sequence[str] = (), **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `python -m ARGV` to its end."""
        environment = {**self.environment, **more}
        return subprocess.run(
            [sys.executable, "-m", *argv],
            env={k: v for k, v in environment.items() if k not in without},
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",  # seconds, as for workers
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
    }
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_for(environment["PREFECT_API_URL"] + "/health")
        yield Server(environment)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[[str], str]:
    """Writes the configuration of a small pipeline in a folder of its own."""

    def make(name: str) -> str:
        root = tmp_path / name
        root.mkdir()
        (root / "pipeline.toml").write_text(CONFIG.format(root=root))
        return str(root / "pipeline.toml")

    return make


def _wait_for(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(url)
