"""The flow on a real Prefect server, beside the local engine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
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


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Starts a Prefect server and returns the environment that leads to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(environment["PREFECT_API_URL"] + "/health")
        yield environment
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_for(url: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(url)


def post(environment: dict[str, str], path: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        environment["PREFECT_API_URL"] + path,
        data=b"{}",
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def run(environment: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *argv], env=environment, capture_output=True, text=True
    )


def write_config(root: Path) -> str:
    root.mkdir()
    (root / "pipeline.toml").write_text(CONFIG.format(root=root))
    return str(root / "pipeline.toml")


def test_flow_script_and_local_engine_give_the_same_digests_and_run(
    api: dict[str, str], tmp_path: Path
):
    by_flow = run(api, "tl_pipeline.cli", "run", write_config(tmp_path / "a"), "--json")
    script = run(api, "flows.pipeline", "--config", write_config(tmp_path / "b"))
    local = run(
        api,
        *("tl_pipeline.cli", "run", write_config(tmp_path / "c"), "--json"),
        *("--engine", "local"),
    )
    summaries = []
    for done in (by_flow, script, local):
        assert done.returncode == 0, done.stderr
        summaries.append(json.loads(done.stdout))
    for key in ("digest", "snapshot", "rows_computed"):
        assert len({str(summary["extract"][key]) for summary in summaries}) == 1, key
    for key in ("identity", "test", "chosen"):
        assert len({str(summary["train"][key]) for summary in summaries}) == 1, key

    assert {summary["promotion"]["reason"] for summary in summaries} == {"first"}

    names = {flow_run["name"] for flow_run in post(api, "/flow_runs/filter")}
    assert names == {"builtin:digits-shifted with pixels"}
    tasks = {(t["name"], t["state_name"]) for t in post(api, "/task_runs/filter")}
    assert tasks == {
        ("extract builtin:digits-shifted with pixels", "Completed"),
        ("train heads on digits-shifted", "Completed"),
        ("promote or hold digits-shifted", "Completed"),
    }
    artifacts = post(api, "/artifacts/filter")
    assert len(artifacts) == 2
    assert {a["type"] for a in artifacts} == {"markdown"}
    assert "accuracy" in artifacts[0]["data"]


def test_a_failing_flow_says_why_in_one_message_and_fails_in_the_server(
    api: dict[str, str], tmp_path: Path
):
    path = tmp_path / "pipeline.toml"
    path.write_text(
        f'[data]\nsource = "{tmp_path}/none"\n[backbone]\nname = "pixels"\n'
    )
    done = run(api, "tl_pipeline.cli", "run", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and f"{tmp_path}/none" in done.stderr
    assert "Traceback" not in done.stderr
    states = {r["name"]: r["state_type"] for r in post(api, "/flow_runs/filter")}
    assert states[f"{tmp_path}/none with pixels"] == "FAILED"


def test_without_a_server_prefect_starts_one_and_leaves_none_behind(
    api: dict[str, str], tmp_path: Path
):
    alone = {key: value for key, value in api.items() if key != "PREFECT_API_URL"}
    alone["PREFECT_HOME"] = str(tmp_path / "prefect")
    done = run(alone, "tl_pipeline.cli", "run", write_config(tmp_path / "d"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["extract"]["rows_computed"] == 896
    left = subprocess.run(
        ["pgrep", "-f", str(tmp_path)], capture_output=True, text=True
    )
    assert left.stdout == ""
