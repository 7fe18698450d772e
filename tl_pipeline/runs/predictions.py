"""Predictions as a table: what a head says of every example it was scored on."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tl_pipeline.tasks import Task, decide, encode_classes


class Predictions(NamedTuple):
    """What a head says of N examples.

    Attributes:
      ids: N ids.
      content: [N, 32] uint8 content digests.
      splits: N split names.
      targets: N targets, as the task encodes them; -1 or NaN where one is missing.
      outputs: [N, K] floating, what the head gives.
      task: What the head was asked for.
      thresholds: What makes a probability a yes; see `decide`.
    """

    ids: tuple[str, ...]
    content: np.ndarray
    splits: tuple[str, ...]
    targets: np.ndarray
    outputs: np.ndarray
    task: Task
    thresholds: tuple[float, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the K columns of `outputs`."""
        return self.task.names

    @property
    def labeled(self) -> np.ndarray:
        """Which examples have a target: [N] bool."""
        if self.task.is_single_class:
            return self.targets >= 0
        return np.asarray(np.isfinite(self.targets).any(axis=1))


class Guess(NamedTuple):
    """What a head says of one example.

    Attributes:
      content: The example's content digest, 64 hexadecimal digits.
      label: The likeliest class.
      probability: Of that class.
    """

    content: str
    label: str
    probability: float


def read_guesses(path: Path) -> dict[str, Guess]:
    """Reads what is likeliest of every example in a table, by id.

    The probabilities of all classes, which are nearly all of the file, stay unread.
    """
    import pyarrow.parquet as pq

    columns = ["id", "content_digest", "predicted", "probability"]
    table = pq.read_table(path, columns=columns).to_pydict()
    ids, *rest = (table[column] for column in columns)
    return {id: Guess(*row) for id, *row in zip(ids, *rest, strict=True)}


def read_predictions(path: Path) -> Predictions:
    """Reads a whole table, as `write_predictions` took it."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    names = tuple(json.loads(table.schema.metadata[b"classes"]))
    kind: Any = table.schema.metadata[b"task"].decode()
    task = Task(kind, names)
    digests = "".join(table["content_digest"].to_pylist())
    if task.is_single_class:
        targets = encode_classes(table["target"].to_pylist(), names)
        outputs = _lists(table["probabilities"], len(names))
    else:
        targets = _lists(table["targets"], len(names))
        outputs = _lists(table["outputs"], len(names))
    return Predictions(
        ids=tuple(table["id"].to_pylist()),
        content=np.frombuffer(bytes.fromhex(digests), np.uint8).reshape(-1, 32),
        splits=tuple(table["split"].to_pylist()),
        targets=targets,
        outputs=outputs,
        task=task,
        thresholds=tuple(json.loads(table.schema.metadata.get(b"thresholds", b"[]"))),
    )


def _lists(column: Any, width: int) -> np.ndarray:
    return column.combine_chunks().flatten().to_numpy().reshape(-1, width)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes the table as Parquet, a row an example.

    Columns: `id`, `content_digest` (64 hexadecimal digits) and `split`. Where each
    example has one class: `target` (null where unlabeled), `predicted`, `probability`
    (of what was predicted) and `probabilities`, a list of K float32. The list stays
    narrow at 10,000 classes; its class names, in order, are JSON in the file's metadata
    under `classes`, and the task under `task`; `thresholds` is there too. So

        table = pandas.read_parquet(path)
        table[table.target != table.predicted].sort_values("probability")

    are the mistakes, and `numpy.stack(table.probabilities)` is [N, K]. Of labels and
    numbers `targets` and `outputs` are lists of K float32, in the order of `classes`;
    a missing target is NaN.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    task = predictions.task
    outputs = np.asarray(predictions.outputs, np.float32)
    columns = {
        "id": pa.array(predictions.ids, pa.string()),
        "content_digest": [row.tobytes().hex() for row in predictions.content],
        "split": pa.array(predictions.splits, pa.string()),
    }
    lists = pa.FixedSizeListArray.from_arrays(outputs.ravel(), outputs.shape[1])
    if task.is_single_class:
        guesses = decide(task, outputs, predictions.thresholds)
        names = [*task.names, None]  # None stands last, where -1 finds it
        columns |= {
            "target": pa.array([names[i] for i in predictions.targets], pa.string()),
            "predicted": pa.array([names[i] for i in guesses], pa.string()),
            "probability": np.take_along_axis(outputs, guesses[:, None], 1)[:, 0],
            "probabilities": lists,
        }
    else:
        targets = np.asarray(predictions.targets, np.float32)
        columns["targets"] = pa.FixedSizeListArray.from_arrays(
            targets.ravel(), targets.shape[1]
        )
        columns["outputs"] = lists
    metadata = {
        "classes": json.dumps(list(task.names)),
        "task": task.kind,
        "thresholds": json.dumps(list(predictions.thresholds)),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
