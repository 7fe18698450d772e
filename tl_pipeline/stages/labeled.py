"""Labeled rows: features of a snapshot's examples, ready to train and score on."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tl_pipeline.errors import DatasetError, FeatureShapeError
from tl_pipeline.examples import Examples
from tl_pipeline.stages.joined import join_rows, split_name
from tl_pipeline.stages.labels import Labels, make_labels
from tl_pipeline.store.rows import Rows
from tl_pipeline.store.store import FeatureStore
from tl_pipeline.tasks import Task


class Split(NamedTuple):
    """One split of labeled rows.

    Attributes:
      features: [N, D] float32.
      targets: N targets, as the task encodes them.
      rows: [N] positions in the whole.
      weight: [N] float64 sample weights; None where there are none.
    """

    features: np.ndarray
    targets: np.ndarray
    rows: np.ndarray
    weight: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class Labeled:
    """Labeled examples that have a row, in order of id.

    Attributes:
      feature: The feature's name; several are joined by `+`.
      task: What a head is asked for.
      ids: N ids.
      content: [N, 32] uint8 content digests.
      splits: N split names.
      groups: N group names, or None.
      features: [N, D] float32; [N, ..., D] where positions were kept; [N, 0] where
        only the labels were asked for.
      targets: As the task encodes them.
      weight: [N] float64 sample weights; None where there are none.
      n_failed: Examples of the snapshot without a row.
    """

    feature: str
    task: Task
    ids: tuple[str, ...]
    content: np.ndarray
    splits: np.ndarray
    groups: tuple[str | None, ...]
    features: np.ndarray
    targets: np.ndarray
    weight: np.ndarray | None
    n_failed: int

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the task's classes, labels or targets."""
        return self.task.names

    def split(self, name: str) -> Split:
        """Returns the rows of `"train"`, `"val"` or `"test"`."""
        rows = np.flatnonzero(self.splits == name)
        weight = None if self.weight is None else self.weight[rows]
        return Split(self.features[rows], self.targets[rows], rows, weight)

    def of_columns(self, columns: np.ndarray) -> "Labeled":
        """Returns the same with some columns of the rows alone."""
        return dataclasses.replace(self, features=self.features[:, columns])

    def vectors(self) -> "Labeled":
        """Returns the same with rows that are no vectors averaged over positions."""
        positions = tuple(range(1, self.features.ndim - 1))
        if not positions:
            return self
        averaged = self.features.mean(axis=positions, dtype=np.float32)
        return dataclasses.replace(self, features=averaged)

    def take(self, rows: np.ndarray) -> "Labeled":
        """Returns some of the rows, in their order."""
        return dataclasses.replace(
            self,
            ids=tuple([self.ids[i] for i in rows.tolist()]),
            content=self.content[rows],
            splits=self.splits[rows],
            groups=tuple([self.groups[i] for i in rows.tolist()]),
            features=self.features[rows],
            targets=self.targets[rows],
            weight=None if self.weight is None else self.weight[rows],
        )


def load_labeled(
    store: FeatureStore,
    feature: str,
    examples: Examples,
    *,
    labels: Labels | None = None,
    positions: bool = False,
) -> Labeled:
    """Reads a feature, or several joined by `+`, of a snapshot's labeled examples.

    Args:
      store: Where the rows are.
      feature: `pool`, or `stage2:avg+stage4:avg`: the two side by side.
      examples: The snapshot.
      labels: Its targets; by default what `make_labels` makes of them.
      positions: Whether rows may be tokens or grids, [T, D] or [H, W, D]; beside
        others they are flattened.

    Raises:
      FeatureShapeError: A row is no vector; the message names poolings that make one.
      NotFoundError: The store does not hold the feature.
    """
    labels = labels or make_labels(examples)
    parts = [store.read(name, snapshot=examples) for name in split_name(feature)]
    for name, part in zip(split_name(feature), parts, strict=True):
        shape = list(part.features.shape[1:])
        if len(shape) != 1 and not positions:
            raise FeatureShapeError(
                f"Asked for heads on {name}, whose rows have shape {shape}: such heads "
                f"take vectors. Extract {name}:avg, {name}:max or {name}:flatten."
            )
    data = _frame(feature, examples, labels, parts)
    kept = set(data.ids)
    arrays = [
        part.features[np.array([id in kept for id in part.ids], bool)] for part in parts
    ]
    return dataclasses.replace(data, features=join_rows(arrays))


def load_frame(
    store: FeatureStore, feature: str, examples: Examples, *, labels: Labels
) -> Labeled:
    """Reads what `load_labeled` does but the features: one of them at a time.

    Raises:
      NotFoundError: The store does not hold the feature.
    """
    parts = []
    for name in split_name(feature):
        part = store.read(name, snapshot=examples)
        none = np.zeros((len(part.ids), 0), np.float32)
        parts.append(dataclasses.replace(part, features=none))
    return _frame(feature, examples, labels, parts)


def _frame(
    feature: str, examples: Examples, labels: Labels, parts: Sequence[Rows]
) -> Labeled:
    """Returns the labeled examples that have a row of every part, without features."""
    place = {id: row for row, id in enumerate(examples.ids)}
    known = {id for id, row in place.items() if labels.known[row]}
    known = known.intersection(*(part.ids for part in parts[1:]))
    ids = tuple(id for id in parts[0].ids if id in known)
    rows = np.array([place[id] for id in ids], np.int64)
    return Labeled(
        feature=feature,
        task=labels.task,
        ids=ids,
        content=examples.content[rows].reshape(-1, 32),
        splits=np.array([examples.splits[row] for row in rows], object),
        groups=tuple(examples.groups[row] for row in rows),
        features=np.zeros((len(ids), 0), np.float32),
        targets=labels.targets[rows],
        weight=None if labels.weight is None else labels.weight[rows],
        n_failed=len(set().union(*(part.failed for part in parts))),
    )


def check_trainable(data: Labeled, *, dataset: str, needs_val: bool = True) -> None:
    """Raises unless there is something to train on, to choose on and to score on.

    Args:
      data: The labeled rows.
      dataset: What the message calls them.
      needs_val: Whether heads are chosen on val, not by cross-validation.

    Raises:
      DatasetError: Fewer than two classes have train examples, a label has but one
        value, or a split is empty; the message counts what there is.
    """
    counts = Counter(data.splits.tolist())
    found = ", ".join(f"{counts[name]} {name}" for name in ("train", "val", "test"))
    train = data.split("train").targets
    if data.task.is_single_class:
        present = [data.classes[i] for i in np.unique(train)]
        if len(present) < 2:
            raise DatasetError(
                f"Asked to train on {dataset}: its train examples have "
                f"{', '.join(present) or 'no labels'}, and a head needs at least two "
                f"classes ({found} labeled examples). Label more, in a folder a class."
            )
    else:
        columns = zip(data.classes, train.T, strict=True)
        flat = [n for n, column in columns if len(np.unique(_known(column))) < 2]
        if flat:
            raise DatasetError(
                f"Asked to train on {dataset}: over its train examples the target "
                f"{', '.join(flat)} has not two different values ({found} labeled "
                "examples). Label more, or leave it out."
            )
    for name in ("val", "test") if needs_val else ("test",):
        if not counts[name]:
            raise DatasetError(
                f"Asked to train on {dataset}: it has no labeled {name} example "
                f"({found}). Bring more examples, or raise {name}_size in [data]."
            )


def _known(column: np.ndarray) -> np.ndarray:
    return column[~np.isnan(column)]
