"""One run of a pipeline at a time, whatever started it: a schedule, cron, a person."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tl_pipeline.config import PipelineConfig
from tl_pipeline.digest import json_digest, short_digest
from tl_pipeline.files import make_folder
from tl_pipeline.places import absolute
from tl_pipeline.store.lock import hold_lock

TURNS = ".turns"  # the folder of locks, beside the runs


@contextlib.contextmanager
def take_turn(
    options: PipelineConfig, stage: str = "all", *, wait: bool = True
) -> Iterator[None]:
    """Holds the turn of a pipeline; it is free the moment its holder dies.

    Two pipelines are the same where they take the same data through the same backbone
    into the same folders, whatever else their configurations say.

    Args:
      options: The pipeline.
      stage: Of which there may be one run at a time, as stages have pools of their own.
      wait: Whether to wait for the run that goes on, or to raise.

    Raises:
      StoreLockedError: Another run of it goes on, and `wait` is False.
      StoreError: The folder of runs cannot be written, or has no locks.
    """
    key = {
        "data": options.data.source,
        "backbone": options.backbone.name,
        "weights": options.backbone.weights,
        "settings": options.backbone.settings,
        "store": absolute(options.store.root),
    }
    folder = Path(options.run.root) / TURNS
    folder /= f"{stage}-{short_digest(json_digest(key))}"
    make_folder(folder)
    doing = (
        f"The pipeline of {options.data.source} with {options.backbone.name} is run"
        if stage == "all"
        else f"Stage {stage} of {options.data.source} with {options.backbone.name} is "
        "run"
    )
    with hold_lock(folder, wait=wait, doing=doing):
        yield
