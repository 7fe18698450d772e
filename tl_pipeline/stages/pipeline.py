"""The whole pipeline as steps with plain values: extract, train, fine-tune, promote.

Every engine calls these steps: the Prefect flow as tasks, the local engine as plain
functions. So both give the same stores, runs and digests.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_pipeline.config import PipelineConfig, RunnerConfig, make_config
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.digest import Json
from tl_pipeline.errors import RequestError
from tl_pipeline.evaluation.gate import Rules
from tl_pipeline.places import find_place
from tl_pipeline.progress import Progress, current_progress
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.baselines import load_baselines
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.extraction import check_failures
from tl_pipeline.stages.finetune_check import check_finetune
from tl_pipeline.stages.handover import leave_extracted
from tl_pipeline.stages.plan import PlanReport, plan
from tl_pipeline.stages.promote import promote
from tl_pipeline.stages.retention import retain
from tl_pipeline.stages.runner import Runner
from tl_pipeline.stages.train import train
from tl_pipeline.stages.turn import take_turn
from tl_pipeline.stages.views import Views, make_views
from tl_pipeline.stages.watch import check_drift, watch

if TYPE_CHECKING:
    from tl_pipeline.stages.sweep_jobs import SweepRunner


def extract_step(
    config: Mapping[str, Any], *, wait: bool = True, runner: Runner | None = None
) -> dict[str, Any]:
    """Extracts the dataset and its baselines; see `extract`.

    Args:
      config: `PipelineConfig.to_json()`.
      wait: Whether to wait for another process that writes one of the stores.
      runner: Whose processes compute the rows, where `[extract]` asks for others.

    Returns:
      `ExtractReport.to_json()`.

    Raises:
      BackboneError: `[finetune]` is enabled, and the backbone cannot be trained.
      RequestError: It is enabled, and no head will be linear; or there is no runner
        where one is asked for.
      TooManyFailuresError: More examples failed than `[data] max_failures` allows.
    """
    options = make_config(config, where="of this pipeline")
    _check_runner("extract", options.extract, runner)
    report = extract(
        **_request(options), wait=wait, runner=runner, progress=current_progress()
    )
    check_failures(report, options.data.max_failures)
    extracted = report.to_json()
    leave_extracted(options, extracted)
    return extracted


def plan_step(
    options: PipelineConfig,
    *,
    retry_failed: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> PlanReport:
    """Says what `extract_step` would do with the same configuration; see `plan`."""
    return plan(
        **_request(options),
        retry_failed=retry_failed,
        workers=workers,
        progress=progress,
    )


def watch_step(
    config: Mapping[str, Any], extracted: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Tests whether new examples look like those of the head in use; see `watch`.

    Args:
      config: `PipelineConfig.to_json()`.
      extracted: What `extract_step` returned.

    Raises:
      DriftError: They do not, and `[drift] action` is fail.
    """
    options = make_config(config, where="of this pipeline")
    if options.drift.action == "none":
        return None
    found = watch(
        extracted["store"],
        snapshot=extracted["snapshot"],
        dataset=extracted["dataset"],
        features=options.backbone.features,
        run_root=options.run.root,
        alpha=options.drift.alpha,
    )
    check_drift(found, options.drift.action)
    return found


def train_step(
    config: Mapping[str, Any],
    extracted: Mapping[str, Any],
    *,
    runner: "SweepRunner | None" = None,
) -> dict[str, Any]:
    """Trains heads on what `extract_step` left, or finds the run that did; see `train`.

    Args:
      config: `PipelineConfig.to_json()`.
      extracted: What `extract_step` returned.
      runner: Whose processes fit heads, where `[sweep]` asks for others.

    Returns:
      `TrainReport.to_json()`.

    Raises:
      RequestError: There is no runner where one is asked for.
    """
    options = make_config(config, where="of this pipeline")
    _check_runner("sweep", options.sweep, runner)
    views = _make_views(options)
    report = train(
        extracted["store"],
        run_root=Path(options.run.root),
        snapshot=extracted["snapshot"],
        features=options.heads.features or options.backbone.features,
        target=options.data.targets,
        weight=options.data.weight,
        slices=options.data.slices,
        baselines=extracted["baselines"],
        shots=options.baselines.shots,
        max_failures=options.data.max_failures,
        view_recipe=None if views is None else views.text,
        extraction=extracted,
        runner=runner,
        progress=current_progress(),
        **options.heads.model_dump(exclude={"features"}),
    )
    return report.to_json()


def finetune_step(
    config: Mapping[str, Any], trained: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Fine-tunes from the run that `train_step` found; see `finetune`.

    Args:
      config: `PipelineConfig.to_json()`.
      trained: What `train_step` returned.

    Returns:
      `FinetuneReport.to_json()`; None where `[finetune] enabled` is false.
    """
    options = make_config(config, where="of this pipeline")
    if not options.finetune.enabled:
        return None
    # Only now: JAX and Flax take a second to load, and most nights train nothing.
    from tl_pipeline.stages.finetune import finetune

    report = finetune(
        trained["run"],
        data=_load_data(options),
        weights=options.backbone.weights,
        run_root=Path(options.run.root),
        progress=current_progress(),
        **options.finetune.model_dump(exclude={"enabled"}),
    )
    return report.to_json()


def promote_step(
    config: Mapping[str, Any],
    trained: Mapping[str, Any],
    drift: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Promotes what a step before found, or holds it back; see `promote`.

    Args:
      config: `PipelineConfig.to_json()`.
      trained: What `train_step` or `finetune_step` returned.
      drift: What `watch_step` returned.

    Returns:
      `PromotionReport.to_json()`; None where `[promotion] enabled` is false.
    """
    options = make_config(config, where="of this pipeline")
    asked = options.promotion
    if not asked.enabled:
        return None
    rules = Rules(
        alpha=asked.alpha,
        min_gain=asked.min_gain,
        max_slice_loss=asked.max_slice_loss,
    )
    holds = drift and drift["differ"] and options.drift.action == "hold"
    hold = drift["sentence"] if drift and holds else ""
    return promote(trained["run"], trained["store"], rules=rules, hold=hold).to_json()


def retain_step(
    config: Mapping[str, Any],
    extracted: Mapping[str, Any],
    trained: Mapping[str, Any],
    finetuned: Mapping[str, Any] | None,
    *,
    wait: bool = True,
) -> dict[str, Any] | None:
    """Drops what `[retention]` no longer keeps; see `retain`.

    Args:
      config: `PipelineConfig.to_json()`.
      extracted: What `extract_step` returned.
      trained: What `train_step` returned: its run stays, also one found again.
      finetuned: What `finetune_step` returned; likewise.
      wait: Whether to wait for another process that writes one of the stores.

    Returns:
      `Retained.to_json()`; None where everything is kept.
    """
    options = make_config(config, where="of this pipeline")
    if not (options.retention.snapshots or options.retention.runs):
        return None
    tuned = finetuned["rows"] if finetuned else []
    stores = [extracted["store"], *(one["store"] for one in extracted["baselines"])]
    return retain(
        stores,
        options.run.root,
        extracted["dataset"],
        n_snapshots=options.retention.snapshots,
        n_runs=options.retention.runs,
        keep=[trained["run"], *(row["run"] for row in tuned)],
        wait=wait,
    ).to_json()


def summarize(
    extracted: Mapping[str, Any],
    trained: Mapping[str, Any],
    finetuned: Mapping[str, Any] | None,
    promotion: Mapping[str, Any] | None,
    drift: Mapping[str, Any] | None = None,
    retained: Mapping[str, Any] | None = None,
) -> dict[str, Json]:
    """Joins what the steps returned into what `run` reports."""
    return {
        "extract": extracted,
        "train": trained,
        "finetune": finetuned,
        "transfer": trained["transfer"],
        "promotion": promotion,
        "drift": drift,
        "retention": retained,
    }


def run_local(config: PipelineConfig, *, wait: bool = True) -> dict[str, Json]:
    """Runs the pipeline in this process, without Prefect.

    Args:
      config: What `pipeline.toml` says.
      wait: Whether to wait for another run of it, and for another process that writes
        one of its stores.

    Returns:
      The summary, as `run --json` writes it.

    Raises:
      StoreLockedError: There is one, and `wait` is False.
    """
    plain = config.to_json()
    with take_turn(config, wait=wait):
        extracted = extract_step(plain, wait=wait)
        drift = watch_step(plain, extracted)
        trained = train_step(plain, extracted)
        finetuned = finetune_step(plain, trained)
        promotion = promote_step(plain, finetuned or trained, drift)
        retained = retain_step(plain, extracted, trained, finetuned, wait=wait)
    return summarize(extracted, trained, finetuned, promotion, drift, retained)


def _request(options: PipelineConfig) -> dict[str, Any]:
    """Returns what `extract` and `plan` are asked for."""
    if options.finetune.enabled:
        check_finetune(options)
    backbone = load_backbone(
        options.backbone.name,
        weights=options.backbone.weights,
        compute_dtype=options.backbone.compute_dtype,
        settings=options.backbone.settings,
    )
    return {
        "dataset": _load_data(options),
        "backbone": backbone,
        "features": options.backbone.features,
        "store_root": find_place(options.store.root),
        "store_dtype": options.store.dtype,
        "batch_size": options.store.batch_size,
        "val_size": options.data.val_size,
        "test_size": options.data.test_size,
        "baselines": load_baselines(
            options.baselines.names, beside=backbone, features=options.backbone.features
        ),
        "n_train": options.baselines.n_train,
        "n_test": options.baselines.n_test,
        "views": _make_views(options),
    }


def _check_runner(section: str, asked: RunnerConfig, runner: object) -> None:
    if asked.runner != "local" and runner is None:
        raise RequestError(
            f'Asked for runner = "{asked.runner}" in [{section}] without '
            "Prefect, whose tasks run there. Leave out --engine local, or set runner = "
            '"local".'
        )


def _make_views(options: PipelineConfig) -> Views | None:
    store = options.store
    return make_views(store.views, store.augment, store.augment_settings)


def _load_data(options: PipelineConfig) -> Dataset:
    return load_dataset(
        options.data.source,
        name=options.data.name,
        exclude=options.data.exclude,
        columns=options.data.columns,
        targets=options.data.targets,
        keep=options.data.keep,
    )
