"""The README's automation: what a promoted head sets off, on a real server."""

import json
import re
import time
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"

EMIT = """
from flows.steps import _emit
_emit("head.{verdict}", "flowers", {{"current": "runs/flowers-1"}})
"""


def take_example() -> str:
    """Returns what the README has the command line create."""
    text = README.read_text().replace("\\\n", "")
    (found,) = re.findall(r"prefect automation create --from-json '(.*?)'", text, re.S)
    return found


def test_a_promoted_head_starts_the_deployment_that_the_readme_names(
    server: Any, tmp_path: Path
) -> None:
    flow = server.post("/flows/", name="score everything")
    deployment = server.post(
        "/deployments/",
        name="after a promotion",
        flow_id=flow["id"],
        parameter_openapi_schema={"type": "object", "properties": {"run": {}}},
    )
    example = json.loads(take_example())
    (action,) = example["actions"]
    assert set(action["parameters"]) == {"run"}
    action["deployment_id"] = deployment["id"]
    command = ["automation", "create", "--from-json", json.dumps(example)]
    created = server.run("prefect", *command)
    assert created.returncode == 0, created.stderr
    for verdict in ("held", "promoted"):
        program = tmp_path / f"{verdict}.py"
        program.write_text(EMIT.format(verdict=verdict))
        emitted = server.run(verdict, PYTHONPATH=str(tmp_path))
        assert emitted.returncode == 0, emitted.stderr
    deadline = time.monotonic() + 60
    started: list[Any] = []
    while not started and time.monotonic() < deadline:
        time.sleep(0.5)
        started = server.post(
            "/flow_runs/filter",
            deployments={"id": {"any_": [deployment["id"]]}},
        )
    (made,) = server.post("/automations/filter", **named(example["name"]))
    server.delete(f"/automations/{made['id']}")
    server.delete(f"/flows/{flow['id']}")  # and all that is of it, for other tests
    assert [run["parameters"] for run in started] == [{"run": "runs/flowers-1"}]


def named(name: str) -> dict[str, Any]:
    return {"automations": {"name": {"any_": [name]}}}
