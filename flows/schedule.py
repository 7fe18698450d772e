"""Deployments of the pipeline: served here, or left to the workers of a pool."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow, serve
from prefect.deployments.runner import DeploymentApplyError, RunnerDeployment
from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from flows.automations import crash_lost_runs
from flows.extract import extraction
from flows.finetune import finetuning
from flows.pipeline import pipeline
from flows.train import training
from tl_pipeline.config import PipelineConfig
from tl_pipeline.errors import RequestError, shorten

# What can be scheduled.
FLOWS: dict[str, Flow[..., Any]] = {
    "all": pipeline,
    "extract": extraction,
    "train": training,
    "finetune": finetuning,
}
SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "cron": Cron,
    "interval": Interval,
    "rrule": RRule,
}


def deploy(
    config: PipelineConfig,
    *,
    stage: str,
    name: str,
    kind: str,
    when: str | float,
    timezone: str | None,
    paused: bool,
    retries: int,
    work_pool: str | None,
    lost_after: int,
    file: Path | None = None,
) -> None:
    """Creates or updates a deployment; without a pool, serves it until it is stopped.

    Each run has the configuration as it is now, which the server keeps, and takes
    relative paths from this folder. One goes at a time: a run that comes while another
    one goes on, or while another process writes one of its stores, is skipped. That is
    held by a lock which is free the moment its holder dies. A concurrency limit of the
    deployment is not: a server that restarts forgets who held it, and starts no run any
    more (Prefect 3.8).

    Args:
      config: What each run is asked for.
      stage: One of `FLOWS`: what is run.
      name: Of the deployment.
      kind: One of `SCHEDULES`.
      when: What its schedule takes: a cron line, seconds, or a recurrence rule.
      timezone: IANA's name of it, such as `Europe/Berlin`; the server's by default.
      paused: Whether the schedule begins paused.
      retries: As for `pipeline`.
      work_pool: A process work pool whose workers run it.
      lost_after: Seconds after which a silent run is marked Crashed; 0: never.
      file: Where to write it instead, for `prefect deploy`.

    Raises:
      RequestError: No server is configured, the schedule is none, or there is no such
        work pool.
    """
    if file is None and PREFECT_API_URL.value() is None:
        raise RequestError(
            "Asked for a schedule: no Prefect server is configured, and a temporary "
            "one would end with this command. Start one with `prefect server start "
            "--host 127.0.0.1`, and set PREFECT_API_URL=http://127.0.0.1:4200/api."
        )
    try:
        deployment = FLOWS[stage].to_deployment(
            name,
            schedule=SCHEDULES[kind](when, timezone=timezone, active=not paused),
            parameters={
                "config": config.to_json(),
                "when_busy": "skip",
                "retries": retries,
            },
            work_pool_name=work_pool,
            job_variables={"working_dir": os.getcwd()} if work_pool else None,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        assert isinstance(deployment, RunnerDeployment)
    except ValueError as error:
        raise RequestError(
            f"Asked for a schedule with {kind} {when!r} (time zone {timezone}): "
            f"{shorten(error)}."
        ) from error
    if file is not None:
        _write(file, deployment, kind)
        return
    if lost_after:
        crash_lost_runs(lost_after)
    if work_pool is None:
        serve(deployment, pause_on_shutdown=False, print_starting_message=False)
        return
    try:
        deployment.apply()
    except DeploymentApplyError as error:
        raise RequestError(
            f"Asked to deploy to the work pool {work_pool!r}: {shorten(error)} Make it "
            f"with `prefect work-pool create {work_pool} --type process`."
        ) from error


def _write(file: Path, deployment: RunnerDeployment, kind: str) -> None:
    """Writes a deployment as Prefect's projects have it, a `prefect.yaml`."""
    (made,) = deployment.schedules or []
    assert made.schedule is not None
    schedule = made.schedule.model_dump(mode="json", exclude_none=True)
    times = {kind: schedule[kind], "active": made.active}
    if "timezone" in schedule:
        times["timezone"] = schedule["timezone"]
    about = {
        "name": deployment.name,
        "entrypoint": deployment.entrypoint,
        "schedules": [times],
        "parameters": deployment.parameters,
        "work_pool": {
            "name": deployment.work_pool_name,
            "job_variables": deployment.job_variables,
        },
    }
    text = yaml.safe_dump({"deployments": [about]}, sort_keys=False)
    try:
        with file.open("x") as stream:
            stream.write(
                "# prefect deploy --all --prefect-file " + file.name + "\n" + text
            )
    except FileExistsError:
        raise RequestError(
            f"Asked to write {file}: it exists. Name another file, or remove it."
        ) from None
