"""`plan`: what `run` or `extract` would do and take."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console
from tl_pipeline.cli.stages_commands import (
    Names,
    Settings,
    make_request,
    one_or_several,
    read_settings,
)
from tl_pipeline.config import load_config
from tl_pipeline.errors import RequestError


def plan(
    config: Path | None = None,
    *,
    data: str | None = None,
    backbone: str | None = None,
    weights: str | None = None,
    features: Names = None,
    dataset: str | None = None,
    exclude: Names = None,
    path_column: str | None = None,
    text_column: str | None = None,
    target_column: Names = None,
    split_column: str | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    weight_column: str | None = None,
    slice_column: Names = None,
    store_root: str | None = None,
    store_dtype: str | None = None,
    batch_size: int | None = None,
    views: int | None = None,
    augment: str | None = None,
    val_size: float | None = None,
    test_size: float | None = None,
    compute_dtype: str | None = None,
    settings: Settings = None,
    retry_failed: Annotated[bool, Parameter(negative=())] = False,
    workers: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run or an extraction would compute, write and take.

    Takes the pipeline.toml of `run`, baselines included, or the options of `extract`.
    It writes nothing but the cache of digests: files that changed are read once.

    Args:
      config: The pipeline.toml; default, without --data: pipeline.toml.
      data: A folder, a table, arrays, or a built-in such as builtin:digits.
      backbone: A name from `backbone ls`.
      weights: A file or folder, pretrained, or random:SEED.
      features: Outputs to cache: pool, stage3:avg, logits, ...
      dataset: The dataset's name; default: the folder's.
      exclude: Patterns of ids to leave out.
      path_column: As of `extract`, like the seven that follow.
      text_column: A table's column of texts.
      target_column: A table's column of targets.
      split_column: Its column of train, val, test.
      group_column: Its column of groups, which are split as one.
      id_column: Its column of ids.
      weight_column: Its column of sample weights.
      slice_column: Its columns that slices are by.
      store_root: The folder that holds the stores.
      store_dtype: float16 or float32.
      batch_size: Fixed when a store is made.
      views: Augmented views of each training example to cache beside it.
      augment: What they are made by: light or strong.
      val_size: Share of validation, where the data has no split.
      test_size: Share of test, likewise.
      compute_dtype: float32 or bfloat16.
      settings: Settings of the backbone, such as max_length=64.
      retry_failed: Try again what failed to decode before.
      workers: Decoding threads; default: one a core.
    """
    from tl_pipeline.reporting.plan import describe_plan
    from tl_pipeline.stages.pipeline import plan_step

    console = Console(as_json=as_json)
    given = {
        "data": {
            "source": data,
            "name": dataset,
            "exclude": exclude,
            "val_size": val_size,
            "test_size": test_size,
            "path": path_column,
            "text": text_column,
            "target": one_or_several(target_column),
            "split": split_column,
            "group": group_column,
            "id": id_column,
            "weight": weight_column,
            "slices": slice_column,
        },
        "backbone": {
            "name": backbone,
            "weights": weights,
            "features": features,
            "compute_dtype": compute_dtype,
            "settings": read_settings(settings, of="[backbone] settings"),
        },
        "store": {
            "root": store_root,
            "dtype": store_dtype,
            "batch_size": batch_size,
            "views": views,
            "augment": augment,
        },
    }
    has_options = any(
        value is not None for keys in given.values() for value in keys.values()
    )
    if config is not None and has_options:
        raise RequestError(
            f"Asked to plan {config} and, beside it, options of `extract`: one request "
            "is either. Leave the file out, or write the options into it."
        )
    if has_options:
        # `extract` fills no baselines.
        options = make_request(**given, baselines={"names": ()})
    else:
        options = load_config(config or Path("pipeline.toml"))
    report = plan_step(
        options,
        retry_failed=retry_failed,
        workers=workers,
        progress=console.progress(),
    )
    plain = report.to_json()
    console.say(*describe_plan(plain))
    console.result(plain)
