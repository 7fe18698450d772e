"""What the server does by itself about runs of the pipeline."""

from datetime import timedelta
from typing import Any

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.settings import get_current_settings

from tl_pipeline.errors import RequestError

LOST_RUNS = "tl-pipeline: a lost run is crashed"
_EVENT = "prefect.flow-run."
# The states in which a run ends: Prefect's, and those that our flows name.
_ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut")
_OURS = ("Promoted", "Held", "Unchanged", "Skipped", "Extracted")


def crash_lost_runs(seconds: int) -> None:
    """Has the server mark a run Crashed that was not heard of for some time.

    A run whose machine is lost tells nobody, and would stay Running for ever. An
    automation of the same name is brought up to date.

    Args:
      seconds: How long a run may be silent.

    Raises:
      RequestError: Runs are to be silent for longer, by the server's settings.
    """
    beat = get_current_settings().flows.heartbeat_frequency
    if beat is None or seconds < 2 * beat:
        every = "never" if beat is None else f"every {beat} s"
        raise RequestError(
            f"Asked to give up runs that are silent for {seconds} s: runs are heard of "
            f"{every}. Ask for at least twice as long, or set "
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY, at least 30, here and for the workers."
        )
    trigger = EventTrigger(
        after={f"{_EVENT}Running", f"{_EVENT}heartbeat"},
        expect={f"{_EVENT}{name}" for name in ("heartbeat", *_ENDS, *_OURS)},
        match_related={
            "prefect.resource.role": "flow",
            "prefect.resource.name": ["tl-pipeline", "tl-pipeline-*"],
        },  # pyright: ignore[reportArgumentType]
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=seconds),
    )
    action = ChangeFlowRunState(
        name="Crashed",
        state=StateType.CRASHED,
        message=f"Nothing was heard of this run for {seconds} s; the next one goes on.",
        force=False,
    )
    found: Any
    try:
        found = Automation.read(name=LOST_RUNS)  # pyright: ignore[reportCallIssue]
    except ValueError:  # there is none
        found = None
    automation = Automation(
        id=found.id if found else None,
        name=LOST_RUNS,
        description="Of runs whose machine was lost, or whose process was killed.",
        trigger=trigger,
        actions=[action],
    )
    if found:
        automation.update()
    else:
        automation.create()
