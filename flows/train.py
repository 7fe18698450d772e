"""Heads by themselves as a Prefect flow: no backbone, no accelerator, no input opened.

python -m flows.train --config pipeline.toml
"""

from typing import Any

from prefect import flow

from flows.steps import (
    WhenBusy,
    call_webhook,
    in_turn,
    promote_head,
    run_script,
    tell,
    train_heads,
    watch_examples,
)
from tl_pipeline.config import PipelineConfig
from tl_pipeline.stages.handover import find_extracted
from tl_pipeline.stages.pipeline import summarize


@flow(
    name="tl-pipeline-train",
    flow_run_name="train heads on {config.data.source} by {config.backbone.name}",
    persist_result=False,
    on_failure=[call_webhook],
    on_crashed=[call_webhook],
)
def training(
    config: PipelineConfig, when_busy: WhenBusy = "wait", retries: int = 0
) -> Any:
    """Trains heads on what was extracted last, and promotes the new one or holds it.

    Nothing is fine-tuned, which would need the pictures.

    Ends in the states of the whole pipeline: Promoted, Held, Unchanged, Skipped or
    Completed.

    Args:
      config: What `pipeline.toml` says; its sections on data, backbone, store and
        baselines are those of the extraction.
      when_busy: Of another run of it: wait for it, fail, or skip.
      retries: How often training is tried again after a failure that may pass.

    Returns:
      The summary, as `run --json` writes it; nothing where it was skipped.
    """
    return in_turn(config, "train", when_busy, lambda: _train(config, retries))


def _train(config: PipelineConfig, retries: int) -> Any:
    plain = config.to_json()
    extracted = find_extracted(config)
    drift = watch_examples(plain, extracted)
    trained = train_heads.with_options(retries=retries)(plain, extracted)
    promotion = promote_head(plain, trained, drift)
    return tell(summarize(extracted, trained, None, promotion, drift))


if __name__ == "__main__":
    run_script(training, "flows.train")
