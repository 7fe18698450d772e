"""The steps of the pipeline as Prefect tasks, and what their flows have in common.

Tasks take and return plain values, and cache nothing: the feature store is the only
cache. The run of each task is named after what it works on.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from prefect import Flow, task
from prefect.blocks.webhook import Webhook
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.events import emit_event
from prefect.states import Completed
from prefect.tasks import Task, exponential_backoff

from flows.artifacts import leave_artifacts, record_lineage
from flows.dask_runner import find_extract_runner, find_sweep_runner
from tl_pipeline.config import PipelineConfig, load_config
from tl_pipeline.errors import (
    RequestError,
    StoreDamagedError,
    StoreLockedError,
    TlPipelineError,
)
from tl_pipeline.stages.pipeline import (
    extract_step,
    finetune_step,
    promote_step,
    retain_step,
    train_step,
    watch_step,
)
from tl_pipeline.stages.turn import take_turn

PAST = {"promote": "promoted", "hold": "held"}
WhenBusy = Literal["wait", "fail", "skip"]


def may_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Tells whether a failure may pass by itself: of a disk or a network, say.

    A wrong request, a damaged store and one that another process holds do not.
    """
    del task, run
    error = state.result(raise_on_failure=False)
    lasting = (RequestError, StoreDamagedError, StoreLockedError)
    return isinstance(error, OSError) and not isinstance(error, lasting)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="extract {config[data][source]} with {config[backbone][name]}",
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_jitter_factor=0.5,
    retry_condition_fn=may_pass,
)
def extract_features(
    config: dict[str, Any], when_busy: WhenBusy = "wait"
) -> dict[str, Any] | State[Any]:
    """Computes the rows that the stores do not hold yet."""
    runner = find_extract_runner(config)
    try:
        return extract_step(config, wait=when_busy == "wait", runner=runner)
    except StoreLockedError as error:
        if when_busy != "skip":
            raise
        return Completed(name="Skipped", message=str(error))


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="watch new examples of {extracted[dataset]}",
)
def watch_examples(
    config: dict[str, Any], extracted: dict[str, Any]
) -> dict[str, Any] | None:
    """Tests whether new examples look like those that the head in use knows."""
    found = watch_step(config, extracted)
    if found and found["differ"]:
        _emit("drift.seen", extracted["dataset"], found)
    return found


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="train heads on {extracted[dataset]}",
    retry_delay_seconds=exponential_backoff(backoff_factor=10),
    retry_jitter_factor=0.5,
    retry_condition_fn=may_pass,
)
def train_heads(config: dict[str, Any], extracted: dict[str, Any]) -> dict[str, Any]:
    """Trains heads on the stores, or finds the run that did."""
    return train_step(config, extracted, runner=find_sweep_runner(config))


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="fine-tune on {trained[dataset]}",
)
def finetune_backbone(
    config: dict[str, Any], trained: dict[str, Any]
) -> dict[str, Any] | None:
    """Trains the backbone on from the run of the heads, where that is asked for."""
    return finetune_step(config, trained)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="promote or hold {trained[dataset]}",
)
def promote_head(
    config: dict[str, Any],
    trained: dict[str, Any],
    drift: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Puts the new head in use, or keeps the one that is."""
    return promote_step(config, trained, drift)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="drop what is no longer kept of {extracted[dataset]}",
)
def drop_old(
    config: dict[str, Any],
    extracted: dict[str, Any],
    trained: dict[str, Any],
    finetuned: dict[str, Any] | None,
    when_busy: WhenBusy = "wait",
) -> dict[str, Any] | None:
    """Drops old snapshots and runs; where a store is busy, another night does."""
    try:
        found = extracted, trained, finetuned
        return retain_step(config, *found, wait=when_busy == "wait")
    except StoreLockedError:
        return None


def in_turn(
    config: PipelineConfig,
    stage: str,
    when_busy: WhenBusy,
    work: Callable[[], Any],
) -> Any:
    """Does a flow's work while no other run of the same stage does.

    Returns:
      What it returns; the state Skipped where another run goes on, and that is what
      `when_busy` says.

    Raises:
      StoreLockedError: Another run goes on, and `when_busy` is `"fail"`.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(take_turn(config, stage, wait=when_busy == "wait"))
        except StoreLockedError as error:
            if when_busy != "skip":
                raise
            return Completed(name="Skipped", message=str(error))
        return work()


async def call_webhook(
    flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]
) -> None:
    """Posts what failed to the webhook block that the configuration names.

    The body is JSON: `flow`, `run` (its name), `id`, `state` and `message`. A webhook
    that cannot be called is an error in the run's log, and changes nothing else.
    """
    config = flow_run.parameters.get("config") or {}
    name = config.get("run", {}).get("failure_webhook")
    if not name:
        return
    block = await Webhook.aload(name)
    await block.call(
        {
            "flow": flow.name,
            "run": flow_run.name,
            "id": str(flow_run.id),
            "state": state.name,
            "message": state.message,
        }
    )


def tell(summary: Mapping[str, Any]) -> State[Any]:
    """Leaves what came of a training in the UI, and returns the state that says it.

    Args:
      summary: As `run --json` writes it.
    """
    trained, promotion = summary["train"], summary["promotion"]
    is_new = not _is_unchanged(summary)
    leave_artifacts(summary, is_new=is_new)
    if is_new:
        record_lineage(summary)
        if promotion:
            event = f"head.{PAST[promotion['verdict']]}"
            _emit(event, trained["dataset"], promotion)
    name, message = _end(summary)
    return Completed(name=name, message=message, data=summary)


def _is_unchanged(summary: Mapping[str, Any]) -> bool:
    """Tells whether neither heads nor the backbone were trained."""
    tuned = summary["finetune"]["rows"] if summary["finetune"] else []
    return summary["train"]["reused"] and all(row["reused"] for row in tuned)


def _end(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the name and the message of the state in which a run ends."""
    trained, promotion = summary["train"], summary["promotion"]
    if _is_unchanged(summary):
        return "Unchanged", f"Nothing has changed since {trained['run']}."
    if promotion is None:
        return "Completed", f"Trained {trained['run']}."
    return PAST[promotion["verdict"]].capitalize(), promotion["sentence"]


def _emit(what: str, dataset: str, payload: Mapping[str, Any]) -> None:
    """Emits an event that automations can wait for: `tl-pipeline.head.promoted`."""
    emit_event(
        f"tl-pipeline.{what}",
        resource={
            "prefect.resource.id": f"tl-pipeline.head.{dataset}",
            "prefect.resource.name": dataset,
        },
        payload=dict(payload),
    )


def run_script(flow: Callable[..., Any], name: str) -> None:
    """Runs a flow of a configuration file and writes what it returns as JSON."""
    parser = argparse.ArgumentParser(prog=name, description=flow.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        found = flow(load_config(arguments.config))
    except TlPipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    json.dump(found, sys.stdout, indent=2)
