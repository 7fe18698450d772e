"""`finetune`: a run's backbone trained on below its head."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console
from tl_pipeline.cli.stages_commands import Settings, read_settings

Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]


def finetune(
    run: Path,
    *,
    data: str | None = None,
    weights: str | None = None,
    ways: Names = None,
    unfreeze: Names = None,
    unfreeze_last_blocks: int | None = None,
    learning_rate: float | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    augment: str | None = None,
    seed: int | None = None,
    settings: Settings = None,
    run_root: Path | None = None,
    checkpoints: Path | None = None,
    preview: Path | None = None,
    workers: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Train a run's backbone on below its head, and say whether that was worth it.

    It starts from the run's linear head. BatchNorm keeps its statistics, and what is
    not unfrozen stays as it was. Killed and called again, it goes on where it was.

    Args:
      run: The run's folder, or DATASET.current.json for the run in use.
      data: The dataset with its pictures; default: where the store had them from.
      weights: Where the backbone's weights are now; must be the run's.
      ways: end-to-end, from pictures; split, from rows cached before the first block
        that is trained; views, heads on cached augmented views; scratch, untrained
        weights, for comparison.
      unfreeze: Blocks to train, as `backbone show` names them, or all.
      unfreeze_last_blocks: So many blocks at the end instead.
      learning_rate: Of the last block.
      epochs: At most; it stops when validation gains no more.
      batch_size: Examples a step.
      augment: none, light or strong.
      seed: Of order, views and dropout.
      settings: Any other key of [finetune] in a pipeline.toml, such as
        layer_decay=0.8 or remat=true; may be repeated.
      run_root: The folder of runs; default: the run's.
      checkpoints: The folder of checkpoints; default: one beside the runs.
      preview: A .png file: some train examples and views of them are drawn there, and
        nothing is trained.
      workers: Decoding threads; default: one a core.
    """
    console = Console(as_json=as_json)
    given = {
        "ways": ways,
        "unfreeze": "all" if unfreeze == ["all"] else unfreeze,
        "unfreeze_last_blocks": unfreeze_last_blocks,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "augment": augment,
        "seed": seed,
        **(read_settings(settings, of="[finetune]") or {}),
    }
    asked: dict[str, Any] = {
        key: value for key, value in given.items() if value is not None
    }
    if preview is not None:
        _draw(preview, console, run, data=data, workers=workers, **asked)
        return
    from tl_pipeline.reporting.finetune import describe_finetune
    from tl_pipeline.stages.finetune import finetune as run_finetune

    report = run_finetune(
        run,
        data=data,
        weights=weights,
        run_root=run_root,
        checkpoints=checkpoints,
        workers=workers,
        progress=console.progress(),
        **asked,
    )
    plain = report.to_json()
    console.say(*describe_finetune(plain))
    console.result(plain)


def _draw(preview: Path, console: Console, run: Path, **asked: Any) -> None:
    from tl_pipeline.errors import RequestError
    from tl_pipeline.files import write_atomically
    from tl_pipeline.stages.finetune_preview import preview_finetune

    if preview.suffix.lower() != ".png" or not preview.parent.is_dir():
        raise RequestError(
            f"Asked for a preview in {preview}: it is a picture. Name a .png file in a "
            "folder that is there."
        )
    write_atomically(preview, preview_finetune(run, **asked))
    console.say(f"preview {preview}; nothing was trained")
    console.result({"preview": str(preview)})
