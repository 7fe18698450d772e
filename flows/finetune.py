"""Fine-tuning by itself as a Prefect flow, on a schedule of its own.

python -m flows.finetune --config pipeline.toml
"""

from typing import Any

from prefect import flow

from flows.steps import (
    WhenBusy,
    call_webhook,
    finetune_backbone,
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
    name="tl-pipeline-finetune",
    flow_run_name="fine-tune {config.backbone.name} on {config.data.source}",
    persist_result=False,
    on_failure=[call_webhook],
    on_crashed=[call_webhook],
)
def finetuning(
    config: PipelineConfig, when_busy: WhenBusy = "wait", retries: int = 0
) -> Any:
    """Fine-tunes from the heads on what was extracted last, whatever `enabled` says.

    The heads are found again, or trained where there are none. Ends in the states of
    the whole pipeline: Promoted, Held, Unchanged, Skipped or Completed.

    Args:
      config: What `pipeline.toml` says; its sections on data, backbone, store and
        baselines are those of the extraction.
      when_busy: Of another run of it: wait for it, fail, or skip.
      retries: How often training of heads is tried again after a failure that may pass.

    Returns:
      The summary, as `run --json` writes it; nothing where it was skipped.
    """
    return in_turn(config, "finetune", when_busy, lambda: _finetune(config, retries))


def _finetune(config: PipelineConfig, retries: int) -> Any:
    enabled = config.finetune.model_copy(update={"enabled": True})
    plain = config.model_copy(update={"finetune": enabled}).to_json()
    extracted = find_extracted(config)
    drift = watch_examples(plain, extracted)
    trained = train_heads.with_options(retries=retries)(plain, extracted)
    finetuned = finetune_backbone(plain, trained)
    promotion = promote_head(plain, finetuned or trained, drift)
    return tell(summarize(extracted, trained, finetuned, promotion, drift))


if __name__ == "__main__":
    run_script(finetuning, "flows.finetune")
