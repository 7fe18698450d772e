"""Ctrl-C and SIGTERM in the midst of real work, of every engine."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tl_pipeline.store.verify import verify_store

CONFIG = """
[data]
source = "builtin:digits-shifted"
[backbone]
name = "{backbone}"
weights = "random:0"
[store]
root = "{root}/stores"
batch_size = {batch_size}
[baselines]
names = []
[run]
root = "{root}/runs"
"""


def start(root: Path, engine: str, *, backbone: str, batch_size: int):
    config = root / "pipeline.toml"
    text = CONFIG.format(root=root, backbone=backbone, batch_size=batch_size)
    config.write_text(text)
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    environment |= {"PREFECT_HOME": str(root / "prefect")}
    environment |= {"XDG_CACHE_HOME": str(root / "cache")}
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tl_pipeline.cli",
            "run",
            str(config),
            "--engine",
            engine,
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("engine", "number"),
    [
        ("local", signal.SIGTERM),
        ("prefect", signal.SIGTERM),
        pytest.param("local", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("prefect", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_run_stops_and_keeps_what_is_committed(
    tmp_path: Path, engine: str, number: int
):
    # A slow network and shards of a few rows.
    process = start(tmp_path, engine, backbone="vgg16", batch_size=1)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("stores/*/store.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # now it compiles, or computes a batch
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said.splitlines()[-1] == "stopped; what is committed stays"
    assert "Traceback" not in said
    (store,) = (found.parent for found in tmp_path.glob("stores/*/store.json"))
    assert verify_store(store)["intact"]
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True)
    assert left.stdout == b""


BUSY = """
import hashlib
from tl_pipeline.cli.stopping import stop_on_signals
stop_on_signals()
print("busy", flush=True)
hashlib.pbkdf2_hmac("sha256", b"no", b"interpreter", 2**31 - 1)  # half an hour
"""


def test_work_that_the_interpreter_cannot_interrupt_is_ended():
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "busy\n"
    time.sleep(2)  # for it to be there
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143
    assert said == "stopped; what is committed stays\n"


LISTENING = """
import asyncio
from tl_pipeline.cli.stopping import stop_on_signals, tell_stopped

async def answer(reader, writer):
    await reader.read(1)  # in the midst of which it is stopped

async def listen():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    kept = await asyncio.open_connection(*server.sockets[0].getsockname())
    await asyncio.sleep(0.5)
    print("listening", flush=True)
    await asyncio.sleep(60)

stop_on_signals()
try:
    asyncio.run(listen())
except KeyboardInterrupt:
    raise SystemExit(tell_stopped())
"""


def test_a_loop_that_is_stopped_says_nothing_of_its_tasks():
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "listening\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "stopped; what is committed stays\n"
