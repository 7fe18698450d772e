"""Labeled rows: one feature of a snapshot's examples, ready to train and score on."""

import dataclasses
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import DatasetError, FeatureShapeError
from tl_pipeline.examples import Examples
from tl_pipeline.store.store import FeatureStore
from tl_pipeline.tasks import Task, encode_classes


class Split(NamedTuple):
    """One split of labeled rows.

    Attributes:
      features: [N, D] float32.
      targets: [N] int64 class indices.
      rows: [N] positions in the whole.
    """

    features: np.ndarray
    targets: np.ndarray
    rows: np.ndarray


@dataclasses.dataclass(frozen=True)
class Labeled:
    """Labeled examples that have a row, in order of id.

    Attributes:
      feature: The feature's name.
      task: What a head is asked for.
      ids: N ids.
      content: [N, 32] uint8 content digests.
      splits: N split names.
      features: [N, D] float32.
      targets: As the task encodes them.
      n_failed: Examples of the snapshot without a row.
    """

    feature: str
    task: Task
    ids: tuple[str, ...]
    content: np.ndarray
    splits: np.ndarray
    features: np.ndarray
    targets: np.ndarray
    n_failed: int

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the task's classes, labels or targets."""
        return self.task.names

    def split(self, name: str) -> Split:
        """Returns the rows of `"train"`, `"val"` or `"test"`."""
        rows = np.flatnonzero(self.splits == name)
        return Split(self.features[rows], self.targets[rows], rows)


def load_labeled(store: FeatureStore, feature: str, examples: Examples) -> Labeled:
    """Reads a feature of a snapshot's labeled examples.

    Raises:
      FeatureShapeError: A row is no vector; the message names poolings that make one.
      NotFoundError: The store does not hold the feature.
    """
    rows = store.read(feature, snapshot=examples)
    if rows.features.ndim != 2:
        shape = list(rows.features.shape[1:])
        raise FeatureShapeError(
            f"Asked for heads on {feature}, whose rows have shape {shape}: a linear "
            f"head takes vectors. Extract {feature}:avg, {feature}:max or "
            f"{feature}:flatten."
        )
    kept = np.array([target is not None for target in rows.targets], bool)
    classes = examples.classes
    return Labeled(
        feature=feature,
        task=Task("binary" if len(classes) == 2 else "multiclass", classes),
        ids=tuple(id for id, keep in zip(rows.ids, kept, strict=True) if keep),
        content=rows.content[kept],
        splits=np.array(rows.splits, object)[kept],
        features=rows.features[kept].astype(np.float32),
        targets=encode_classes(rows.targets, classes)[kept],
        n_failed=len(rows.failed),
    )


def check_trainable(data: Labeled, *, dataset: str) -> None:
    """Raises unless there is something to train on, to choose on and to score on.

    Raises:
      DatasetError: Fewer than two classes have train examples, or validation or test
        is empty; the message counts what there is.
    """
    counts = {name: len(data.split(name).rows) for name in ("train", "val", "test")}
    found = ", ".join(f"{n} {name}" for name, n in counts.items())
    present = [data.classes[i] for i in np.unique(data.split("train").targets)]
    if len(present) < 2:
        raise DatasetError(
            f"Asked to train on {dataset}: its train examples have "
            f"{', '.join(present) or 'no labels'}, and a head needs at least two "
            f"classes ({found} labeled examples). Label more, in a folder a class."
        )
    for name in ("val", "test"):
        if not counts[name]:
            raise DatasetError(
                f"Asked to train on {dataset}: it has no labeled {name} example "
                f"({found}). Bring more examples, or raise {name}_size in [data]."
            )
