"""What a fine-tuning would see: some of a run's train examples and views of them."""

from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.augmentation.recipe import make_recipe
from tl_pipeline.config import make_finetune_config
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.errors import ConfigError, RequestError
from tl_pipeline.preprocess import ImagePreprocess, find_taken
from tl_pipeline.stages.backbones import check_trainable
from tl_pipeline.stages.contact_sheet import MOST_PIXELS, make_contact_sheet
from tl_pipeline.stages.finetune_inputs import PreparedInputs
from tl_pipeline.stages.finetune_start import load_source, load_start
from tl_pipeline.stages.labeled import Labeled

MOST_EXAMPLES, N_VIEWS = 6, 8
END_TO_END = "end-to-end"


def preview_finetune(
    run: str | Path,
    *,
    data: str | Dataset | None = None,
    workers: int | None = None,
    **settings: Any,
) -> bytes:
    """Draws some train examples of a run, plain and as training would augment them.

    Nothing is trained, and no weights are loaded.

    Args:
      run: The run's folder, or a `.current.json`.
      data: The dataset with its pictures; by default where its store had them from.
      workers: Decoding threads; by default one a core.
      **settings: Keys of `[finetune]` in a pipeline.toml.

    Returns:
      A PNG file's bytes: a row an example, of as many classes as there is room for.

    Raises:
      ConfigError: A setting is unfit, or no way asked for augments.
      NotFoundError: There is no such run, or its store is gone.
      RequestError: The run cannot be started from, or its backbone takes no images.
      BackboneError: Its backbone has nothing to train.
      DatasetError: The dataset lacks examples of the run.
    """
    config = make_finetune_config(settings)
    if config.ways == ("split",) and not config.views:
        raise ConfigError(
            "Asked for a preview of fine-tuning split: its examples are rows that were "
            f"cached, and none is augmented. Preview {END_TO_END}, or ask for views."
        )
    recipe = make_recipe(config.augment, config.augment_settings)
    start = load_start(run)
    check_trainable(str(start.run.spec["backbone"]))
    dataset, items = load_source(start, data)
    if (takes := find_taken(start.run.spec)) != "images":
        raise RequestError(
            f"Asked for a preview of fine-tuning {start.run.spec['backbone']}: it "
            f"takes {takes}, and a preview is of images. Fine-tune without one."
        )
    preprocess = ImagePreprocess.from_json(start.run.spec["preprocess"])
    size = int(np.prod(preprocess.input_shape)) * (N_VIEWS + 1)
    rows = _spread(start.data)[: max(1, min(MOST_EXAMPLES, 3 * MOST_PIXELS // size))]
    pictures = PreparedInputs(
        dataset, items, start.data.content, preprocess, workers=workers
    )
    (images,) = pictures.stream([rows])
    if preprocess.dtype == "uint16":
        images = (images // 257).astype(np.uint8)
    if preprocess.color == "bgr":
        images = images[..., ::-1]
    return make_contact_sheet(
        images,
        recipe,
        n_views=N_VIEWS,
        seed=config.seed,
        examples=start.data.content[rows],
    )


def _spread(data: Labeled) -> np.ndarray:
    """Returns the train rows, the first one of each class first, then the second."""
    train = data.split("train")
    if not data.task.is_single_class:
        return train.rows
    order = np.argsort(train.targets, kind="stable")
    ordered = train.targets[order]
    turn = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    return train.rows[order[np.lexsort((ordered, turn))]]
