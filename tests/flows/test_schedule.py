"""Scheduled runs, by a real server: served here, and by a worker of a pool."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def wait_for_states(server: Any, name: str, n: int) -> list[dict[str, Any]]:
    """Waits until n runs of a deployment have ended, and returns them, oldest first."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        (deployment,) = [
            one for one in server.post("/deployments/filter") if one["name"] == name
        ] or [None]
        if deployment:
            runs = server.post(
                "/flow_runs/filter",
                flows={},
                deployments={"id": {"any_": [deployment["id"]]}},
                flow_runs={"state": {"type": {"any_": ["COMPLETED", "FAILED"]}}},
                sort="START_TIME_ASC",
            )
            if len(runs) >= n:
                return runs
        time.sleep(1)
    raise TimeoutError(f"{n} runs of {name}")


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return out + err


def test_a_served_pipeline_runs_by_its_schedule_and_says_what_came_of_it(
    server: Any, make_config: Callable[[str], str], tmp_path: Path
):
    path = make_config("served")
    serving = server.start(
        *("tl_pipeline.cli", "schedule", path, "--interval", "20"),
        *("--name", "often", "--timezone", "Europe/Berlin"),
    )
    try:
        first, second, *_ = wait_for_states(server, "often", 2)
    finally:
        said = stop(serving)
    assert "here in the foreground" in said and "Traceback" not in said
    assert (first["state_name"], second["state_name"]) == ("Promoted", "Unchanged")
    assert "first head" in first["state"]["message"]
    assert first["auto_scheduled"]
    (deployment,) = [
        one for one in server.post("/deployments/filter") if one["name"] == "often"
    ]
    # What the page makes a form of: each key with its kind and what it is.
    schema = deployment["parameter_openapi_schema"]
    heads = schema["definitions"]["HeadsConfig"]["properties"]
    assert heads["n_folds"]["type"] == "integer"
    assert deployment["enforce_parameter_schema"]
    assert schema["definitions"]["DataConfig"]["properties"]["source"]["description"]
    assert deployment["schedules"][0]["schedule"]["timezone"] == "Europe/Berlin"
    left = subprocess.run(
        ["pgrep", "-f", str(tmp_path)], capture_output=True, text=True
    )
    assert left.stdout == ""


def test_a_run_is_skipped_while_another_process_writes_its_store(
    server: Any, make_config: Callable[[str], str], tmp_path: Path
):
    path = make_config("busy")
    assert (
        server.run(*("tl_pipeline.cli", "run", path, "--engine", "local")).returncode
        == 0
    )
    # Another dataset, whose rows the store does not hold yet.
    config = Path(path)
    config.write_text(config.read_text().replace("digits-shifted", "digits"))
    (lock,) = tmp_path.glob("busy/stores/pixels-*/.lock")
    holder = subprocess.Popen(["flock", "-F", str(lock), "sleep", "600"])
    try:
        time.sleep(1)
        serving = server.start(
            *("tl_pipeline.cli", "schedule", path, "--interval", "20"),
            *("--name", "busy", "--retries", "0"),
        )
        try:
            run, *_ = wait_for_states(server, "busy", 1)
        finally:
            stop(serving)
    finally:
        holder.kill()
        holder.wait()
    assert run["state_name"] == "Skipped"
    assert "another process" in run["state"]["message"]


def test_a_worker_of_a_pool_runs_what_was_deployed_to_it(
    server: Any, make_config: Callable[[str], str]
):
    path = make_config("pooled")
    asked = ["tl_pipeline.cli", "schedule", path, "--cron", "0 3 * * *", "--pause"]
    missing = server.run(*asked, "--work-pool", "nights")
    assert missing.returncode == 2 and "nights" in missing.stderr
    made = server.run("prefect", "work-pool", "create", "nights", "--type", "process")
    assert made.returncode == 0, made.stderr
    deployed = server.run(*asked, "--work-pool", "nights", "--name", "nightly")
    assert deployed.returncode == 0, deployed.stderr
    assert "prefect worker start --pool nights" in deployed.stdout
    worker = server.start("prefect", "worker", "start", "--pool", "nights")
    try:
        begun = server.run("prefect", "deployment", "run", "tl-pipeline/nightly")
        assert begun.returncode == 0, begun.stderr
        (run,) = wait_for_states(server, "nightly", 1)
    finally:
        stop(worker)
    assert run["state_name"] == "Promoted"


def test_a_project_file_deploys_what_was_written_into_it(
    server: Any, make_config: Callable[[str], str], tmp_path: Path
):
    path, file = make_config("project"), tmp_path / "prefect.yaml"
    asked = ["tl_pipeline.cli", "schedule", path, "--cron", "0 3 * * *", "--pause"]
    asked += ["--timezone", "Europe/Berlin", "--name", "written", "--yaml", str(file)]
    refused = server.run(*asked)
    assert refused.returncode == 2 and "--work-pool" in refused.stderr
    made = server.run("prefect", "work-pool", "create", "files", "--type", "process")
    assert made.returncode == 0, made.stderr
    written = server.run(*asked, "--work-pool", "files")
    assert written.returncode == 0 and "prefect deploy --all" in written.stdout
    again = server.run(*asked, "--work-pool", "files")
    assert again.returncode == 2 and "it exists" in again.stderr
    deployed = server.run(
        *("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file))
    )
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    (deployment,) = [
        one for one in server.post("/deployments/filter") if one["name"] == "written"
    ]
    (schedule,) = deployment["schedules"]
    assert schedule["schedule"]["cron"] == "0 3 * * *" and not schedule["active"]
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"
    assert deployment["parameters"]["when_busy"] == "skip"
    assert deployment["global_concurrency_limit"] is None  # a lock of ours it is
    worker = server.start("prefect", "worker", "start", "--pool", "files")
    try:
        begun = server.run("prefect", "deployment", "run", "tl-pipeline/written")
        assert begun.returncode == 0, begun.stderr
        (run,) = wait_for_states(server, "written", 1)
    finally:
        stop(worker)
    assert run["state_name"] == "Promoted"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "it takes one of --cron, --interval and --rrule"),
        (["--cron", "0 3 * * *", "--interval", "9"], "cron and interval"),
        (["--cron", "whenever"], "whenever"),
        (["--rrule", "FREQ=NEVER"], "FREQ=NEVER"),
        (["--interval", "-5"], "-5"),
        (["--cron", "0 3 * * *", "--timezone", "Mars/Olympus"], "Mars/Olympus"),
    ],
)
def test_a_schedule_that_is_none_is_refused(
    server: Any, make_config: Callable[[str], str], options: list[str], words: str
):
    done = server.run("tl_pipeline.cli", "schedule", make_config("x"), *options)
    assert done.returncode == 2
    assert words in done.stderr and "Traceback" not in done.stderr


def test_without_a_server_a_schedule_says_how_to_start_one(
    server: Any, make_config: Callable[[str], str]
):
    done = server.run(
        *("tl_pipeline.cli", "schedule", make_config("x"), "--interval", "9"),
        without=["PREFECT_API_URL"],
    )
    assert done.returncode == 2 and "prefect server start" in done.stderr
