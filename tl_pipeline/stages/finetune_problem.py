"""A way of fine-tuning as a problem to train: from inputs, or from rows at a cut."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from tl_pipeline.augmentation.augment import make_augment
from tl_pipeline.augmentation.keys import make_keys
from tl_pipeline.augmentation.recipe import Recipe, make_recipe
from tl_pipeline.augmentation.recordings import make_masking, mask_windows
from tl_pipeline.augmentation.tokens import drop_tokens, make_dropping
from tl_pipeline.backbones.features import feature_shape, resolve_features
from tl_pipeline.backbones.parameters import random_parameters
from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.errors import ConfigError, RequestError
from tl_pipeline.finetune_config import FinetuneConfig
from tl_pipeline.finetuning.head import make_blank_head, make_head
from tl_pipeline.finetuning.partition import (
    ALL,
    Partition,
    choose_trained,
    opening_epochs,
)
from tl_pipeline.finetuning.training import Augment, Examples, Problem
from tl_pipeline.heads.affine import flatten_head
from tl_pipeline.preprocess import (
    AudioPreprocess,
    ImagePreprocess,
    Preprocess,
    TextPreprocess,
)
from tl_pipeline.stages.cached_views import CachedViews
from tl_pipeline.stages.finetune_check import check_inputs
from tl_pipeline.stages.finetune_inputs import (
    MOST_KEPT,
    CachedFrames,
    CachedRows,
    CachedTokens,
    PreparedInputs,
)
from tl_pipeline.stages.finetune_start import Start, find_units, make_targets
from tl_pipeline.stages.joined import split_name
from tl_pipeline.stages.views import Views, augment_pictures, make_views
from tl_pipeline.tasks import LOSSES

SCRATCH = "scratch"
SPLIT = "split"
# A key for each example, inputs as the feed gives them, targets -> views, targets.
_View = Callable[[Any, Any, np.ndarray], tuple[Any, Any]]
# Of a network that knows nothing, every block of which has all to learn.
SCRATCH_RATE = 1e-3


class Plan(NamedTuple):
    """What is trained in one way, before anything is loaded for it.

    Attributes:
      config: The settings of this way.
      features: The head's features.
      partition: What is trained.
      cut: The output whose rows are taken from the store; None: from the input.
      views: Augmented views of these rows, which are cached too; None: no such.
    """

    config: FinetuneConfig
    features: tuple[str, ...]
    partition: Partition
    cut: str | None
    views: Views | None


def plan_way(start: Start, network: TrainableNetwork, config: FinetuneConfig) -> Plan:
    """Decides what is trained, and where the network is cut.

    Args:
      start: Where to start.
      network: The run's own.
      config: With one way.

    Raises:
      ConfigError: A block is unknown or would never be trained, nothing is left
        before the cut, or numbers were to be smoothed.
      BackboneError: The network cannot be cut there.
    """
    (way,) = config.ways
    if config.label_smoothing and start.data.task.kind == "regression":
        raise ConfigError(
            f"Asked for label_smoothing = {config.label_smoothing:g} on numbers: only "
            "classes and labels are smoothed. Leave it out."
        )
    check_inputs(network.architecture.preprocess, config)
    features = tuple(split_name(start.head.feature))
    blocks = network.blocks(features)
    if way == SCRATCH:
        config = config.model_copy(
            update={
                "unfreeze": ALL,
                "unfreeze_last_blocks": None,
                "learning_rate": SCRATCH_RATE,
                "head_learning_rate": SCRATCH_RATE,
                "layer_decay": 1.0,
                "unfreeze_every": 0,
            }
        )
    partition = choose_trained(
        blocks,
        unfreeze=config.unfreeze,
        last=config.unfreeze_last_blocks,
        statistics=network.statistics,
    )
    _check_opening(partition, config)
    cut, views = None, None
    if way == SPLIT:
        names = tuple(blocks)
        first = names.index(partition.blocks[0]) if partition.blocks else len(names)
        if not first:
            raise ConfigError(
                "Asked to fine-tune split, with no block frozen: nothing could be "
                f"cached. Unfreeze some of the blocks after {names[0]} alone: "
                f"{', '.join(names[1:])}."
            )
        cut = names[first - 1]
        network.check_cut(cut, features)
        views = make_views(config.views, config.augment, config.augment_settings)
        if views is None:
            nothing = {"augment": "none", "augment_settings": {}}
            config = config.model_copy(update=nothing)
    return Plan(config, features, partition, cut, views)


def _check_opening(partition: Partition, config: FinetuneConfig) -> None:
    """Raises where a block would still be closed in the last epoch."""
    opens = opening_epochs(partition.depths, every=config.unfreeze_every)
    latest = max(opens.values())
    if latest >= config.epochs:
        raise ConfigError(
            f"Asked to unfreeze {len(partition.blocks)} blocks, one more every "
            f"{config.unfreeze_every} epochs: {partition.blocks[0]} would begin after "
            f"{latest} epochs, and there are {config.epochs}. Lower unfreeze_every, "
            "unfreeze fewer blocks, or raise epochs."
        )


def make_problem(
    plan: Plan,
    start: Start,
    network: TrainableNetwork,
    *,
    dataset: Dataset,
    items: Mapping[bytes, list[Item]],
    workers: int | None = None,
) -> Problem:
    """Makes the problem of one way.

    Args:
      plan: From `plan_way`.
      start: Where to start.
      network: The run's own.
      dataset: What has the bytes of its examples.
      items: Its items by content digest.
      workers: Decoding threads; by default one a core.

    Raises:
      RequestError: The run's head is not linear.
    """
    config, data = plan.config, start.data
    shapes = network.feature_shapes()
    poolings = network.architecture.preprocess.poolings
    width = sum(
        int(np.prod(feature_shape(feature, shapes)))
        for feature in resolve_features(plan.features, shapes, poolings=poolings)
    )
    if config.ways == (SCRATCH,) or config.from_scratch_head:
        head = make_blank_head(width, len(data.classes))
    else:
        head = _take_head(start)
    arrays = begin_parameters(plan, network)
    needed = {
        name for names in network.blocks(plan.features).values() for name in names
    }
    trained = {name: x for name, x in arrays.items() if name in plan.partition.depths}
    frozen = {n: x for n, x in arrays.items() if n in needed and n not in trained}
    preprocess = network.architecture.preprocess
    # Behind a cut a recording is only measured.
    is_measured = plan.cut is not None and isinstance(preprocess, AudioPreprocess)
    inputs = PreparedInputs(
        dataset,
        items,
        data.content,
        preprocess,
        workers=workers,
        most_kept=0 if is_measured else MOST_KEPT,
    )
    feed: Any = inputs
    if plan.cut is None:
        prepare, augment = network.prepare, _make_augment(plan, start, network)
    else:
        rows = _read_cut(plan.cut, start)
        feed = _feed_cut(rows, inputs, preprocess)
        prepare, augment = _keep_rows, None
    viewed = None if plan.views is None else _read_train(plan, start)

    def examples(split: str) -> Examples:
        rows = data.split(split).rows
        weight = np.ones(len(rows)) if data.weight is None else data.weight[rows]

        def stream(batches: Iterable[np.ndarray]) -> Iterator[Any]:
            if split == "train" and viewed is not None:
                return viewed.stream(batches)
            return feed.stream(rows[batch] for batch in batches)

        return Examples(
            stream=stream,
            targets=make_targets(data, rows),
            weight=weight.astype(np.float32),
        )

    return Problem(
        apply=network.make_apply(plan.features, cut=plan.cut, remat=config.remat),
        prepare=prepare,
        augment=augment,
        trained={**trained, **head},
        frozen=frozen,
        depths=plan.partition.depths,
        train=examples("train"),
        val=examples("val"),
        loss="softmax" if data.task.is_single_class else LOSSES[data.task.kind],
        draw=None if viewed is None else partial(viewed.draw, seed=config.seed),
    )


def begin_parameters(plan: Plan, network: TrainableNetwork) -> dict[str, np.ndarray]:
    """Returns the parameters that a way begins with: the run's, or untrained ones."""
    if plan.config.ways != (SCRATCH,):
        return dict(network.parameters)
    sizes = {name: array.shape for name, array in network.parameters.items()}
    return random_parameters(sizes, seed=plan.config.seed)


def _feed_cut(rows: np.ndarray, inputs: PreparedInputs, preprocess: Preprocess) -> Any:
    """Returns what streams rows at a cut, with what of their examples is needed."""
    if isinstance(preprocess, AudioPreprocess):
        return CachedFrames(rows, inputs, preprocess)
    if isinstance(preprocess, TextPreprocess):
        return CachedTokens(rows, inputs)
    return CachedRows(rows)


def _read_cut(cut: str, start: Start) -> np.ndarray:
    rows = start.store.read(cut, snapshot=start.examples)
    place = {id: i for i, id in enumerate(rows.ids)}
    return rows.features[[place[id] for id in start.data.ids]]


def _read_train(plan: Plan, start: Start) -> CachedRows:
    """Reads the train rows at the cut with their views."""
    assert plan.cut is not None and plan.views is not None
    at_cut = dataclasses.replace(
        start.data, feature=plan.cut, features=_read_cut(plan.cut, start)
    )
    views = CachedViews(plan.views.text, (plan.views.count,))
    found = views.read(start.store, at_cut, start.examples)
    return CachedRows(at_cut.split("train").features, [*found])


def _take_head(start: Start) -> dict[str, np.ndarray]:
    try:
        kernel, bias = flatten_head(start.head)
    except RequestError as error:
        raise RequestError(
            f"Asked to fine-tune from run {start.run.path} (a head of kind "
            f"{start.head.kind}): {error} A head that knows nothing yet sends its own "
            "errors through the pretrained weights first; from_scratch_head = true "
            "begins with one nevertheless."
        ) from None
    binary = start.data.task.kind == "binary"
    return make_head(kernel, bias, binary=binary, units=find_units(start.data))


def _make_augment(
    plan: Plan, start: Start, network: TrainableNetwork
) -> Augment | None:
    """Makes the function that augments a batch as the feed gives it."""
    config = plan.config
    content = start.data.content[start.data.split("train").rows]
    view = _make_view(network.architecture.preprocess, config)
    if view is None:
        return None

    def draw(
        rows: np.ndarray, step: int, inputs: Any, targets: np.ndarray
    ) -> tuple[Any, Any]:
        return view(make_keys(config.seed, content[rows], step), inputs, targets)

    return draw


def _make_view(preprocess: Preprocess, config: FinetuneConfig) -> _View | None:
    """Makes what turns inputs into other views; None: they stay as they are."""
    name, settings = config.augment, config.augment_settings
    if isinstance(preprocess, TextPreprocess):
        share = make_dropping(name, settings)
        if not share:
            return None
        return lambda keys, ids, targets: (drop_tokens(keys, ids, share), targets)
    if isinstance(preprocess, AudioPreprocess):
        masking = make_masking(name, settings)
        if not any(masking):
            return None
        return lambda keys, windows, targets: (
            mask_windows(keys, windows, masking),
            targets,
        )
    assert isinstance(preprocess, ImagePreprocess)
    recipe = make_recipe(name, settings)
    if recipe == Recipe():
        return None
    augment = make_augment(recipe)
    return lambda keys, images, targets: augment_pictures(
        augment, keys, images, jnp.asarray(targets), preprocess
    )


def _keep_rows(rows: Any) -> Any:
    return rows
