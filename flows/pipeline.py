"""The pipeline as a Prefect flow: extract what is missing, train, promote, tell.

python -m flows.pipeline --config pipeline.toml
"""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.steps import (
    WhenBusy,
    call_webhook,
    drop_old,
    extract_features,
    finetune_backbone,
    in_turn,
    promote_head,
    run_script,
    tell,
    train_heads,
    watch_examples,
)
from tl_pipeline.config import PipelineConfig
from tl_pipeline.stages.pipeline import summarize


@flow(
    name="tl-pipeline",
    flow_run_name="{config.data.source} with {config.backbone.name}",
    persist_result=False,
    on_failure=[call_webhook],
    on_crashed=[call_webhook],
)
def pipeline(
    config: PipelineConfig, when_busy: WhenBusy = "wait", retries: int = 0
) -> Any:
    """Extracts what is missing, trains heads, and promotes the new one or holds it.

    Ends in a state that says which: Promoted, Held, Unchanged where there was nothing
    to do, Skipped where another run of it went on or another process held a store, or
    Completed.

    Args:
      config: What `pipeline.toml` says.
      when_busy: Of another run, or another process that writes a store: wait for it,
        fail, or skip.
      retries: How often extraction and training are tried again after a failure that
        may pass, such as a full disk: after 10 s, 20 s, and so on.

    Returns:
      The summary, as `run --json` writes it; nothing where it was skipped.
    """
    return in_turn(config, "all", when_busy, lambda: _run(config, when_busy, retries))


def _run(config: PipelineConfig, when_busy: WhenBusy, retries: int) -> Any:
    plain = config.to_json()
    extracted = extract_features.with_options(retries=retries)(plain, when_busy)
    if isinstance(extracted, State):
        return Completed(name=extracted.name, message=extracted.message)
    drift = watch_examples(plain, extracted)
    trained = train_heads.with_options(retries=retries)(plain, extracted)
    finetuned = finetune_backbone(plain, trained) if config.finetune.enabled else None
    promotion = promote_head(plain, finetuned or trained, drift)
    retained = drop_old(plain, extracted, trained, finetuned, when_busy)
    found = extracted, trained, finetuned, promotion, drift, retained
    return tell(summarize(*found))


if __name__ == "__main__":
    run_script(pipeline, "flows.pipeline")
