"""Extraction by itself as a Prefect flow, for the pool that has the accelerator.

python -m flows.extract --config pipeline.toml
"""

from typing import Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.steps import (
    WhenBusy,
    call_webhook,
    extract_features,
    in_turn,
    run_script,
)
from tl_pipeline.config import PipelineConfig
from tl_pipeline.reporting.summary import describe_extract


@flow(
    name="tl-pipeline-extract",
    flow_run_name="extract {config.data.source} with {config.backbone.name}",
    persist_result=False,
    on_failure=[call_webhook],
    on_crashed=[call_webhook],
)
def extraction(
    config: PipelineConfig, when_busy: WhenBusy = "wait", retries: int = 0
) -> Any:
    """Extracts what is missing; `flows.train` with the same configuration goes on.

    Ends in the state Extracted, Unchanged where there was nothing to do, or Skipped
    where another run of it went on or another process held a store.

    Args:
      config: What `pipeline.toml` says.
      when_busy: Of another run, or another process that writes a store: wait for it,
        fail, or skip.
      retries: How often it is tried again after a failure that may pass.

    Returns:
      What `extract --json` writes; nothing where it was skipped.
    """
    return in_turn(
        config, "extract", when_busy, lambda: _extract(config, when_busy, retries)
    )


def _extract(config: PipelineConfig, when_busy: WhenBusy, retries: int) -> Any:
    task = extract_features.with_options(retries=retries)
    extracted = task(config.to_json(), when_busy)
    if isinstance(extracted, State):
        return Completed(name=extracted.name, message=extracted.message)
    lines = describe_extract(extracted)
    create_markdown_artifact(
        "\n".join(["```", *lines, "```"]), key="extract", description="The extraction"
    )
    changes = extracted.get("changes")  # None: it is the first snapshot
    is_new = extracted["rows_computed"] or changes is None or any(changes.values())
    name = "Extracted" if is_new else "Unchanged"
    return Completed(name=name, message=lines[0], data=extracted)


if __name__ == "__main__":
    run_script(extraction, "flows.extract")
