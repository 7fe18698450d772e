"""Heads on cached views: what fine-tuning is beside, at the price of extraction."""

from collections.abc import Sequence
from pathlib import Path

from tl_pipeline.backbones.backbone import Backbone
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.progress import Progress
from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.finetune_start import Start
from tl_pipeline.stages.joined import split_name
from tl_pipeline.stages.train import train
from tl_pipeline.stages.views import Views, make_views

VIEWS = "views"
# Of each training example, where the settings name no number.
MANY = 8


def cache_rows(
    features: Sequence[str],
    start: Start,
    backbone: Backbone,
    dataset: Dataset,
    *,
    views: Views | None = None,
    workers: int | None = None,
) -> None:
    """Fills a run's store with rows and their views, those that it lacks.

    Args:
      features: Of which outputs, such as one at a cut.
      start: The run.
      backbone: The run's own.
      dataset: What has the bytes of its examples.
      views: Augmented views to cache too.
      workers: Decoding threads; by default one a core.
    """
    extract(
        dataset,
        backbone,
        features=features,
        store_root=start.store.path.parent,
        store_dtype=str(start.run.spec["store_dtype"]),
        batch_size=start.store.batch_size,
        examples=start.examples,
        views=views,
        workers=workers,
    )
    start.store.reload()


def train_on_views(
    start: Start,
    backbone: Backbone,
    dataset: Dataset,
    config: FinetuneConfig,
    *,
    run_root: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[Run, bool, int]:
    """Trains heads as the run's were, on cached views of its feature too.

    Args:
      start: The run.
      backbone: The run's own.
      dataset: What has the bytes of its examples.
      config: For `views`, how many (8 where it says 0), and what they are made by.
      run_root: The folder of runs.
      workers: Decoding threads; by default one a core.
      progress: What to tell as it goes on.

    Returns:
      The run; whether it was there already; and how many rows of views it is on.

    Raises:
      ConfigError: The augmentation does nothing.
    """
    views = make_views(config.views or MANY, config.augment, config.augment_settings)
    assert views is not None
    feature, columns = start.head.feature, start.columns
    features = split_name(feature)
    cache_rows(features, start, backbone, dataset, views=views, workers=workers)
    heads = dict(start.run.asked["heads"])  # pyright: ignore[reportArgumentType]
    report = train(
        start.store.path,
        run_root=run_root,
        dataset=start.examples.dataset,
        snapshot=start.examples.digest,
        target=columns.target,
        weight=columns.weight,
        slices=columns.slices,
        view_recipe=views.text,
        progress=progress,
        **heads
        | {"features": [feature], "select_features": [], "views": [views.count]},
    )
    n_rows = views.count * start.examples.splits.count("train")
    return load_run(report.run), report.reused, n_rows
