"""Predictions as a table: what a head says of every example it was scored on."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Predictions(NamedTuple):
    """What a head says of N examples.

    Attributes:
      ids: N ids.
      content: [N, 32] uint8 content digests.
      splits: N split names.
      targets: [N] class indices; -1 where an example is unlabeled.
      probabilities: [N, K] floating.
      classes: K class names.
    """

    ids: tuple[str, ...]
    content: np.ndarray
    splits: tuple[str, ...]
    targets: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]


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


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes the table as Parquet, a row an example.

    Columns: `id`, `content_digest` (64 hexadecimal digits), `split`, `target` (null
    where unlabeled), `predicted`, `probability` (of what was predicted) and
    `probabilities`, a list of K float32. The list stays narrow at 10,000 classes; its
    class names, in order, are JSON in the file's metadata under `classes`. So

        table = pandas.read_parquet(path)
        table[table.target != table.predicted].sort_values("probability")

    are the mistakes, and `numpy.stack(table.probabilities)` is [N, K].
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shares = np.asarray(predictions.probabilities, np.float32)
    guesses = shares.argmax(axis=1)
    names = [*predictions.classes, None]  # None stands last, where -1 finds it
    table = pa.table(
        {
            "id": pa.array(predictions.ids, pa.string()),
            "content_digest": [row.tobytes().hex() for row in predictions.content],
            "split": pa.array(predictions.splits, pa.string()),
            "target": pa.array([names[i] for i in predictions.targets], pa.string()),
            "predicted": pa.array([names[i] for i in guesses], pa.string()),
            "probability": np.take_along_axis(shares, guesses[:, None], 1)[:, 0],
            "probabilities": pa.FixedSizeListArray.from_arrays(
                shares.ravel(), shares.shape[1]
            ),
        }
    )
    metadata = {"classes": json.dumps(list(predictions.classes))}
    pq.write_table(table.replace_schema_metadata(metadata), path)
