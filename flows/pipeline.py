"""The pipeline as a Prefect flow: extract what is missing, train, promote, tell.

    python -m flows.pipeline --config pipeline.toml

Tasks take and return plain values, and cache nothing: the feature store is the only
cache. The run of each task is named after what it works on.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tl_pipeline.config import load_config
from tl_pipeline.errors import TlPipelineError
from tl_pipeline.reporting.markdown import make_markdown
from tl_pipeline.stages.pipeline import (
    extract_step,
    promote_step,
    summarize,
    train_step,
)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="extract {config[data][source]} with {config[backbone][name]}",
)
def extract_features(config: dict[str, Any], wait: bool = True) -> dict[str, Any]:
    """Computes the rows that the stores do not hold yet."""
    return extract_step(config, wait=wait)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="train heads on {extracted[dataset]}",
)
def train_heads(config: dict[str, Any], extracted: dict[str, Any]) -> dict[str, Any]:
    """Trains heads on the stores, or finds the run that did."""
    return train_step(config, extracted)


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    task_run_name="promote or hold {trained[dataset]}",
)
def promote_head(
    config: dict[str, Any], trained: dict[str, Any]
) -> dict[str, Any] | None:
    """Puts the new head in use, or keeps the one that is."""
    return promote_step(config, trained)


@flow(
    name="tl-pipeline",
    flow_run_name="{config[data][source]} with {config[backbone][name]}",
    persist_result=False,
)
def pipeline(config: dict[str, Any], wait: bool = True) -> dict[str, Any]:
    """Runs the pipeline of one configuration, `PipelineConfig.to_json()`.

    With `wait` it waits for another process that writes the stores, else it fails.
    """
    extracted = extract_features(config, wait)
    trained = train_heads(config, extracted)
    summary = summarize(extracted, trained, promote_head(config, trained))
    create_markdown_artifact(make_markdown(summary), key="run", description="The run")
    return summary


def main() -> None:
    """Runs the flow of a configuration file and writes its summary as JSON."""
    parser = argparse.ArgumentParser(prog="flows.pipeline", description=main.__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        summary = pipeline(load_config(arguments.config).to_json())
    except TlPipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    json.dump(summary, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
