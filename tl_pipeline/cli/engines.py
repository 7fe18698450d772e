"""The two ways to run a pipeline: as a Prefect flow, or here and now without it."""

import logging
import os
from pathlib import Path
from typing import Any, Literal

import tl_pipeline
from tl_pipeline.config import PipelineConfig
from tl_pipeline.errors import RequestError
from tl_pipeline.progress import Progress, telling

Engine = Literal["prefect", "local"]


def run_engine(
    engine: Engine, config: PipelineConfig, progress: Progress, *, wait: bool = True
) -> dict[str, Any]:
    """Runs a pipeline and returns its summary, the same from either engine."""
    run = _run_local if engine == "local" else _run_flow
    with telling(progress):
        return run(config, wait)


def _run_local(config: PipelineConfig, wait: bool) -> dict[str, Any]:
    from tl_pipeline.stages.pipeline import run_local

    return run_local(config, wait=wait)


def _run_flow(config: PipelineConfig, wait: bool) -> dict[str, Any]:
    # The summary says what Prefect's log would say, and an error comes as one message.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
    check_flows()
    import flows.pipeline

    logging.getLogger("prefect").setLevel(logging.CRITICAL)
    return flows.pipeline.pipeline(config, when_busy="wait" if wait else "fail")


def check_flows() -> None:
    """Raises where `import flows` finds somebody else's package.

    Raises:
      RequestError: A `flows` that is not ours stands before ours on the import path.
    """
    import flows

    ours = Path(tl_pipeline.__file__).parent.parent / "flows"
    found = [Path(folder) for folder in flows.__path__]
    if found != [ours]:
        raise RequestError(
            f"Asked for the Prefect flows of tl_pipeline in {ours}; `import flows` "
            f"found {', '.join(map(str, found))}. Run the command from another folder, "
            "take that folder off PYTHONPATH, or use --engine local."
        )
