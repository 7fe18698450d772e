"""Predictions as a table: what a head says of every example it was scored on."""

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Predictions(NamedTuple):
    """What a head says of N examples.

    Attributes:
      ids: N ids.
      content: [N, 32] uint8 content digests.
      splits: N split names.
      targets: [N] class indices.
      probabilities: [N, K] floating.
      classes: K class names.
    """

    ids: tuple[str, ...]
    content: np.ndarray
    splits: tuple[str, ...]
    targets: np.ndarray
    probabilities: np.ndarray
    classes: tuple[str, ...]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Writes the table as Parquet.

    Columns: `id`, `content_digest` (hexadecimal), `split`, `target`, `predicted`, and
    `probabilities`, a list of K float32; the class names are in the file's metadata
    under `classes`, in the order of the list.
    """
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    names = np.array(predictions.classes, object)
    table = pa.table(
        {
            "id": list(predictions.ids),
            "content_digest": [row.tobytes().hex() for row in predictions.content],
            "split": list(predictions.splits),
            "target": names[predictions.targets].tolist(),
            "predicted": names[predictions.probabilities.argmax(axis=1)].tolist(),
            "probabilities": pa.array(
                list(predictions.probabilities.astype(np.float32)),
                pa.list_(pa.float32()),
            ),
        }
    )
    metadata = {"classes": json.dumps(list(predictions.classes))}
    pq.write_table(table.replace_schema_metadata(metadata), path)
