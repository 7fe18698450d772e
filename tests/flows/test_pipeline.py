"""The flow on a real Prefect server, beside the local engine."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lineage(server: Any, root: Path) -> dict[tuple[str, str], float]:
    """Returns each asset under a root, and what it came of, with a fact of it."""
    found: dict[tuple[str, str], float] = {}
    deadline = time.monotonic() + 60
    while len(found) < 2 and time.monotonic() < deadline:  # events come by and by
        events = server.post(
            "/events/filter",
            filter={"event": {"prefix": ["prefect.asset.materialization.succeeded"]}},
        )["events"]
        for event in events:
            key = event["resource"]["prefect.resource.id"]
            if not key.startswith((root / "").as_uri()):
                continue
            of = [
                one["prefect.resource.id"]
                for one in event["related"]
                if one["prefect.resource.role"] == "asset"
            ]
            facts = event["payload"]
            kinds = tuple(Path(one).parent.name for one in (key, *(of or [""])))
            found[kinds] = facts.get("examples", facts.get("accuracy"))
        time.sleep(1)
    return found


def test_flow_script_and_local_engine_give_the_same_digests_and_run(
    server: Any, make_config: Callable[[str], str], tmp_path: Path
):
    by_flow = server.run("tl_pipeline.cli", "run", make_config("a"), "--json")
    script = server.run("flows.pipeline", "--config", make_config("b"))
    local = server.run(
        *("tl_pipeline.cli", "run", make_config("c"), "--json"),
        *("--engine", "local"),
    )
    roots = [str(tmp_path / name / "runs") for name in "ab"]
    summaries = []
    for done in (by_flow, script, local):
        assert done.returncode == 0, done.stderr
        summaries.append(json.loads(done.stdout))
    for key in ("digest", "snapshot", "rows_computed"):
        assert len({str(summary["extract"][key]) for summary in summaries}) == 1, key
    for key in ("identity", "test", "chosen"):
        assert len({str(summary["train"][key]) for summary in summaries}) == 1, key

    assert {summary["promotion"]["reason"] for summary in summaries} == {"first"}

    runs = server.post("/flow_runs/filter")
    runs = [one for one in runs if one["parameters"]["config"]["run"]["root"] in roots]
    assert len(runs) == 2
    assert {one["name"] for one in runs} == {"builtin:digits-shifted with pixels"}
    assert {one["state_name"] for one in runs} == {"Promoted"}
    tasks = {(t["name"], t["state_name"]) for t in server.post("/task_runs/filter")}
    assert tasks >= {
        ("extract builtin:digits-shifted with pixels", "Completed"),
        ("train heads on digits-shifted", "Completed"),
        ("promote or hold digits-shifted", "Completed"),
    }
    made = {one["id"] for one in runs}
    artifacts = server.post("/artifacts/filter")
    artifacts = [one for one in artifacts if one["flow_run_id"] in made]
    by_key = {one["key"]: one["data"] for one in artifacts}
    assert len(artifacts) == 8
    assert by_key.keys() == {"run", "heads", "report", "confusion"}
    assert "accuracy" in by_key["run"]
    assert [row["l2"] for row in json.loads(by_key["heads"])] == [0.01, 0.1]
    assert by_key["confusion"].startswith("data:image/png;base64,iVBOR")
    assert "file:///" in by_key["report"] and "report.html" in by_key["report"]
    assert lineage(server, tmp_path / "a") == {
        ("stores", ""): 896,
        ("runs", "stores"): summaries[0]["train"]["test"]["accuracy"]["value"],
    }


def test_a_failing_flow_says_why_in_one_message_and_fails_in_the_server(
    server: Any, make_config: Callable[[str], str], tmp_path: Path
):
    path = tmp_path / "pipeline.toml"
    path.write_text(
        f'[data]\nsource = "{tmp_path}/none"\n[backbone]\nname = "pixels"\n'
    )
    done = server.run("tl_pipeline.cli", "run", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and f"{tmp_path}/none" in done.stderr
    assert "Traceback" not in done.stderr
    states = {r["name"]: r["state_type"] for r in server.post("/flow_runs/filter")}
    assert states[f"{tmp_path}/none with pixels"] == "FAILED"


def test_without_a_server_prefect_starts_one_and_leaves_none_behind(
    server: Any, make_config: Callable[[str], str], tmp_path: Path
):
    done = server.run(
        *("tl_pipeline.cli", "run", make_config("d"), "--json"),
        without=["PREFECT_API_URL"],
        PREFECT_HOME=str(tmp_path / "prefect"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["extract"]["rows_computed"] == 896
    left = subprocess.run(
        ["pgrep", "-f", str(tmp_path)], capture_output=True, text=True
    )
    assert left.stdout == ""
