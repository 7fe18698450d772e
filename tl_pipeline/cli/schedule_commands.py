"""`schedule`: the pipeline, run again and again by Prefect."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tl_pipeline.cli.console import Console
from tl_pipeline.cli.engines import check_flows
from tl_pipeline.config import load_config
from tl_pipeline.errors import RequestError


def schedule(
    config: Path = Path("pipeline.toml"),
    *,
    stage: Literal["all", "extract", "train", "finetune"] = "all",
    cron: str | None = None,
    interval: float | None = None,
    rrule: str | None = None,
    timezone: str | None = None,
    pause: Annotated[bool, Parameter(negative=())] = False,
    name: str | None = None,
    retries: int = 2,
    work_pool: str | None = None,
    lost_after: int = 600,
    yaml: Path | None = None,
) -> None:
    """Run the pipeline on a schedule, by a Prefect server.

    Without a work pool this command stays in the foreground and does the runs itself,
    until Ctrl-C; with one it returns, and the pool's workers do them.

    Args:
      config: The pipeline.toml, as it is now; schedule again when it has changed.
      stage: all of it; or extract, train or finetune alone, for a pool of its own.
      cron: A cron line: "0 3 * * *" is every night at three.
      interval: Seconds from one run to the next.
      rrule: A recurrence rule of iCalendar: "FREQ=WEEKLY;BYDAY=SU".
      timezone: Of the schedule, such as Europe/Berlin; default: UTC.
      pause: Begin paused; Prefect's page has a switch.
      name: Of the deployment; default: the configuration file's.
      retries: How often a step is tried again after a failure that may pass.
      work_pool: A process work pool; without one the runs are done here.
      lost_after: Seconds for which a run may be silent, as one whose machine is gone,
        before the server calls it Crashed, by an automation; 0: for ever.
      yaml: A prefect.yaml to write, for `prefect deploy`, and nothing else.
    """
    given = {"cron": cron, "interval": interval, "rrule": rrule}
    asked = {kind: when for kind, when in given.items() if when is not None}
    if len(asked) != 1:
        raise RequestError(
            f"Asked for a schedule with {' and '.join(asked) or 'no time'}: it takes "
            'one of --cron, --interval and --rrule, as in --cron "0 3 * * *".'
        )
    if yaml is not None and work_pool is None:
        raise RequestError(
            f"Asked to write {yaml} without a work pool: `prefect deploy` leaves runs "
            "to the workers of one. Name it with --work-pool."
        )
    options = load_config(config)
    check_flows()
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
    from flows.schedule import deploy

    ((kind, when),) = asked.items()
    named = name or config.stem
    flow = "tl-pipeline" if stage == "all" else f"tl-pipeline-{stage}"
    console = Console(as_json=False)
    times = f"{kind} {when}{f' ({timezone})' if timezone else ''}"
    times += ", paused" if pause else ""
    if yaml is not None:
        console.say(
            f"Writing {flow}/{named}, {times}, to {yaml}. Deploy it from this folder: "
            f"prefect deploy --all --prefect-file {yaml}"
        )
    elif work_pool is None:
        console.say(
            f"Serving {flow}/{named}, {times}, here in the foreground: the runs "
            "end with this command, by Ctrl-C.",
            f"One at once: prefect deployment run {flow}/{named}",
        )
    deploy(
        options,
        stage=stage,
        name=named,
        kind=kind,
        when=when,
        timezone=timezone,
        paused=pause,
        retries=retries,
        work_pool=work_pool,
        lost_after=lost_after,
        file=yaml,
    )
    if work_pool is not None and yaml is None:
        console.say(
            f"Deployed {flow}/{named}, {times}, to the work pool "
            f"{work_pool}. Its workers need tl-pipeline installed: "
            f"prefect worker start --pool {work_pool}"
        )
