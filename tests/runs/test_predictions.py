import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tl_pipeline.runs import read_predictions, write_predictions
from tl_pipeline.tasks import Task


def test_the_table_reads_as_a_person_would_query_it(
    tmp_path: Path, parts: dict[str, Any]
):
    predictions = parts["predictions"]
    write_predictions(tmp_path / "p.parquet", predictions)
    table = pq.read_table(tmp_path / "p.parquet")
    columns = table.to_pydict()
    assert columns["id"] == list(predictions.ids)
    assert columns["content_digest"] == [
        row.tobytes().hex() for row in predictions.content
    ]
    assert columns["split"] == ["val", "test", "test"]
    assert columns["target"] == ["日本", "ants", None]  # -1 is no target, not the last
    assert columns["predicted"] == ["日本", "bees", "ants"]
    np.testing.assert_allclose(columns["probability"], [0.7, 0.5, 0.6], rtol=1e-6)
    np.testing.assert_allclose(
        np.stack(columns["probabilities"]), predictions.outputs, rtol=1e-6
    )
    assert json.loads(table.schema.metadata[b"classes"]) == ["ants", "bees", "日本"]


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path, parts: dict[str, Any]):
    nothing = parts["predictions"]._replace(
        ids=(),
        content=np.zeros((0, 32), np.uint8),
        splits=(),
        targets=np.zeros(0, int),
        outputs=np.zeros((0, 3)),
    )
    write_predictions(tmp_path / "p.parquet", nothing)
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.num_rows == 0
    assert table.column_names[-1] == "probabilities"


def test_labels_and_numbers_keep_their_missing_targets(
    tmp_path: Path, parts: dict[str, Any]
):
    targets = np.array([[1, np.nan], [0, 1], [np.nan, 0], [1, 1]], np.float32)
    outputs = np.linspace(0, 1, 8).reshape(4, 2)
    n = len(parts["predictions"].ids)
    labels = parts["predictions"]._replace(
        targets=targets[:n], outputs=outputs[:n], task=Task("multilabel", ("a", "b"))
    )
    write_predictions(tmp_path / "p.parquet", labels)
    table = pq.read_table(tmp_path / "p.parquet")
    columns = table.to_pydict()
    np.testing.assert_array_equal(np.stack(columns["targets"]), targets[:n])
    np.testing.assert_allclose(np.stack(columns["outputs"]), outputs[:n], rtol=1e-6)
    assert json.loads(table.schema.metadata[b"classes"]) == ["a", "b"]
    assert table.schema.metadata[b"task"] == b"multilabel"
    found = read_predictions(tmp_path / "p.parquet")
    np.testing.assert_array_equal(found.targets, targets[:n])
    assert found.task == labels.task


def test_what_is_read_is_what_was_written(tmp_path: Path, parts: dict[str, Any]):
    predictions = parts["predictions"]
    write_predictions(tmp_path / "p.parquet", predictions)
    found = read_predictions(tmp_path / "p.parquet")
    for key in ("ids", "splits", "classes"):
        assert getattr(found, key) == getattr(predictions, key)
    for key in ("content", "targets"):
        np.testing.assert_array_equal(getattr(found, key), getattr(predictions, key))
    assert found.task == predictions.task
    np.testing.assert_allclose(found.outputs, predictions.outputs, rtol=1e-6)
    nothing = predictions._replace(
        ids=(),
        content=np.zeros((0, 32), np.uint8),
        splits=(),
        targets=np.zeros(0, int),
        outputs=np.zeros((0, 3)),
    )
    write_predictions(tmp_path / "p.parquet", nothing)
    assert read_predictions(tmp_path / "p.parquet").ids == ()
