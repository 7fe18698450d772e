"""The stages as flows of their own, on a real server; and who is told of a failure."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

SAVE_BLOCK = """
from prefect.blocks.webhook import Webhook
Webhook(method="POST", url="http://127.0.0.1:{port}/alerts").save("alerts")
"""


def state_names(server: Any, flow: str) -> list[str]:
    runs = server.post(
        "/flow_runs/filter",
        flows={"name": {"any_": [flow]}},
        flow_runs={"name": {"like_": "builtin:digits-shifted"}},  # of these tests
        sort="START_TIME_ASC",
    )
    return [run["state_name"] for run in runs]


def test_stages_run_apart_and_training_needs_no_data(
    server: Any, make_config: Callable[[str], str], tmp_path: Path
):
    path = make_config("apart")
    early = server.run("flows.train", "--config", path)
    assert early.returncode == 2
    assert "knows of no such extraction" in early.stderr
    first = server.run("flows.extract", "--config", path)
    again = server.run("flows.extract", "--config", path)
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert json.loads(first.stdout)["rows_computed"] > 0
    assert json.loads(again.stdout)["rows_computed"] == 0
    assert state_names(server, "tl-pipeline-extract") == ["Extracted", "Unchanged"]

    trained = server.run("flows.train", "--config", path)
    assert trained.returncode == 0, trained.stderr
    summary = json.loads(trained.stdout)
    assert summary["promotion"]["verdict"] == "promote"
    assert state_names(server, "tl-pipeline-train") == ["Failed", "Promoted"]
    # The whole pipeline finds the same run: it was asked for the same.
    whole = server.run("tl_pipeline.cli", "run", path, "--engine", "local", "--json")
    found = json.loads(whole.stdout)["train"]
    assert (found["run"], found["reused"]) == (summary["train"]["run"], True)


def test_a_backbone_is_fine_tuned_on_a_schedule_of_its_own(
    server: Any, make_config: Callable[[str], str]
):
    path = make_config("tuned")
    config = Path(path)
    text = config.read_text().replace('"pixels"', '"digits_cnn"')
    config.write_text(
        text + '[baselines]\nnames = []\n[finetune]\nunfreeze = ["stage2"]\n'
        'ways = ["split"]\nepochs = 1\n'
    )
    extracted = server.run("flows.extract", "--config", path)
    assert extracted.returncode == 0, extracted.stderr
    tuned = server.run("flows.finetune", "--config", path)
    assert tuned.returncode == 0, tuned.stderr
    summary = json.loads(tuned.stdout)
    assert [row["way"] for row in summary["finetune"]["rows"]] == [
        "cached head",
        "split",
    ]
    assert state_names(server, "tl-pipeline-finetune") == ["Promoted"]
    # With the same configuration, which does not enable it, the heads are the same.
    whole = server.run("tl_pipeline.cli", "run", path, "--engine", "local", "--json")
    found = json.loads(whole.stdout)
    assert found["finetune"] is None and found["train"]["reused"]


@pytest.fixture
def listener() -> Iterator[tuple[int, list[Any]]]:
    """A web server on this machine, and what was posted to it."""
    posted: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            posted.append((self.path, json.loads(self.rfile.read(length))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield listening.server_port, posted
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_a_webhook_is_told_why_a_run_failed_and_of_nothing_else(
    server: Any,
    make_config: Callable[[str], str],
    listener: tuple[int, list[Any]],
    tmp_path: Path,
):
    port, posted = listener
    (tmp_path / "save_block.py").write_text(SAVE_BLOCK.format(port=port))
    saved = server.run("save_block", PYTHONPATH=str(tmp_path))
    assert saved.returncode == 0, saved.stderr
    path = make_config("told")
    config = Path(path)
    good = config.read_text() + 'failure_webhook = "alerts"\n'
    config.write_text(good.replace("builtin:digits-shifted", f"{tmp_path}/nowhere"))
    assert server.run("flows.extract", "--config", path).returncode == 2
    ((where, body),) = posted
    assert where == "/alerts"
    assert body["flow"] == "tl-pipeline-extract" and body["state"] == "Failed"
    assert "nowhere" in body["message"]
    config.write_text(good)
    assert server.run("flows.extract", "--config", path).returncode == 0
    assert len(posted) == 1
