"""Where a fine-tuning starts: a run, its head, its network and its examples."""

import dataclasses
from pathlib import Path

import numpy as np

from tl_pipeline.arrays import array_digest
from tl_pipeline.backbones.trainable import TrainableNetwork
from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.errors import DatasetError, RequestError, SpecMismatchError
from tl_pipeline.examples import Examples
from tl_pipeline.finetuning.head import Units
from tl_pipeline.heads.head import Head
from tl_pipeline.heads.weighting import weigh
from tl_pipeline.runs.run import Run, load_run
from tl_pipeline.spec import is_declared
from tl_pipeline.stages.backbones import load_trainable
from tl_pipeline.stages.extract import items_by_content
from tl_pipeline.stages.labeled import Labeled, check_trainable, load_frame
from tl_pipeline.stages.labels import Columns, make_labels
from tl_pipeline.stages.originals import find_recorded, load_again
from tl_pipeline.store.store import FeatureStore, open_store


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What a run left to go on from.

    Attributes:
      run: The run.
      head: Its head.
      store: The store that it was trained on.
      examples: The snapshot.
      columns: Its columns that had a part.
      reason: Why it is this task, a clause.
      data: The labeled examples, without rows.
    """

    run: Run
    head: Head
    store: FeatureStore
    examples: Examples
    columns: Columns
    reason: str
    data: Labeled

    @property
    def weights(self) -> str:
        """Where the backbone's weights were."""
        return str(self.run.provenance["weights"])


def load_start(path: str | Path) -> Start:
    """Loads a run, its store and its labels.

    Raises:
      NotFoundError: There is no such run, or its store is gone.
      RequestError: Its features were made elsewhere.
      DatasetError: It has no validation example to stop by.
    """
    run = load_run(path)
    if is_declared(run.spec):
        raise RequestError(
            f"Asked to fine-tune from run {run.path}: its features were imported, made "
            f"elsewhere by {run.spec['backbone']}. Use a run on features that "
            "`tl-pipeline extract` computed."
        )
    head = Head.from_arrays(run.head, run.head_arrays())
    store = open_store(str(run.provenance["store"]), spec=run.spec)
    examples = store.snapshot(
        str(run.provenance["dataset"]), digest=str(run.head["snapshot"])
    )
    kept = run.asked["columns"]
    columns = Columns(tuple(kept["target"]), kept["weight"], tuple(kept["slices"]))
    labels = make_labels(
        examples, task=head.task.kind, targets=columns.target, weight=columns.weight
    )
    data = load_frame(store, head.feature, examples, labels=labels)
    check_trainable(data, dataset=examples.dataset)
    return Start(run, head, store, examples, columns, labels.reason, data)


def load_network(start: Start, weights: str | None = None) -> TrainableNetwork:
    """Loads the run's own backbone, its parameters unfolded.

    Args:
      start: Where to start.
      weights: Where they are now; by default where the run had them.

    Raises:
      SpecMismatchError: They are not the run's.
      WeightsError: They are no longer there.
    """
    spec = start.run.spec
    network = load_trainable(
        str(spec["backbone"]),
        weights=weights or start.weights,
        settings=spec["settings"],
    )
    found = array_digest(network.parameters)
    if found != spec["weights"]:
        raise SpecMismatchError(
            f"Asked to fine-tune from run {start.run.path} with the weights "
            f"{weights or start.weights}: their digest is {found:.12}, the run's "
            f"{spec['weights']:.12}. Give the file that the run's features are of."
        )
    return network


def load_source(
    start: Start, source: str | Dataset | None
) -> tuple[Dataset, dict[bytes, list[Item]]]:
    """Loads the dataset that has the bytes of the run's examples.

    Args:
      start: Where to start.
      source: As `load_dataset` takes it; by default where the store had it from.

    Returns:
      The dataset, and its items by content digest.

    Raises:
      DatasetError: It lacks some of them.
    """
    name = start.examples.dataset
    recorded = find_recorded(start.store.path, name)
    if isinstance(source, Dataset):
        dataset = source
    elif source is not None:
        dataset = load_again(source, recorded, name=name)
    elif recorded is not None:
        dataset = load_again(recorded.source, recorded, name=name)
    else:
        raise RequestError(
            f"Asked to fine-tune from run {start.run.path}: its store does not know "
            "where its examples were. Give the dataset with --data."
        )
    items = items_by_content(digest_items(dataset, None))
    missing = [
        id
        for id, content in zip(start.data.ids, start.data.content, strict=True)
        if content.tobytes() not in items
    ]
    if missing:
        raise DatasetError(
            f"Asked to fine-tune on {dataset.source}: it lacks {len(missing):,} of the "
            f"{len(start.data.ids):,} examples of run {start.run.path}, such as "
            f"{missing[0]}, or they have changed. Give the dataset that was extracted, "
            "or extract it again, train, and fine-tune from that run."
        )
    return dataset, items


def find_units(data: Labeled) -> Units | None:
    """Returns the mean and deviation of each number over train; None of classes."""
    if data.task.kind != "regression":
        return None
    train = data.split("train")
    found = weigh(
        train.targets,
        data.task,
        n_heads=1,
        n_rows=len(train.rows),
        sample_weight=train.weight,
    )
    return Units(found.center[0], found.scale[0])


def make_targets(data: Labeled, rows: np.ndarray) -> np.ndarray:
    """Returns the targets of some rows as a network is trained on: [n, K] float32.

    Shares of classes; labels; numbers in their units. NaN is a missing one.
    """
    targets = data.targets[rows]
    if data.task.is_single_class:
        return np.eye(len(data.classes), dtype=np.float32)[targets]
    units = find_units(data)
    if units is not None:
        targets = (targets - units.center) / units.scale
    return targets.astype(np.float32)
