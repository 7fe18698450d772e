"""Clusters: planted groups are found, in stores that have no label at all."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.cli.app import run_command
from tl_pipeline.errors import ConfigError
from tl_pipeline.stages.clusters import cluster_examples
from tl_pipeline.stages.import_features import import_features

SIZES = (90, 60, 30)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows around three directions, at lengths of all kinds; no target."""
    root = tmp_path_factory.mktemp("clusters")
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(3), SIZES)
    rows = np.eye(3, 8)[group] + 0.1 * rng.normal(size=(len(group), 8))
    rows *= rng.uniform(0.5, 20, (len(group), 1))
    ids = np.array([f"{g}/{row:04}" for row, g in enumerate(group)])
    np.savez(root / "f.npz", pool=rows.astype(np.float32), id=ids)
    made = {"backbone": "some net", "weights": "theirs", "dataset": "planted"}
    return import_features([root / "f.npz"], store_root=root / "stores", **made).store


def test_planted_groups_are_the_clusters_the_largest_first(store: str, tmp_path: Path):
    out = tmp_path / "c.csv"
    found = cluster_examples(store, k=3, out=out, most_rows=100)
    clusters: list = found["clusters"]  # pyright: ignore
    assert [one["size"] for one in clusters] == list(SIZES)
    assert [one["typical"][0][0] for one in clusters] == ["0", "1", "2"]
    assert all(one["target"] is None and one["share"] is None for one in clusters)
    assert all(0 < one["spread"] < 0.5 for one in clusters)
    rows = list(csv.reader(out.read_text().splitlines()))
    assert rows[0] == ["id", "cluster"] and len(rows) == 1 + sum(SIZES)
    assert all(id[0] == cluster for id, cluster in rows[1:])
    again = cluster_examples(store, k=3, out=tmp_path / "d.csv", most_rows=100)
    assert (tmp_path / "d.csv").read_bytes() == out.read_bytes()
    assert again["clusters"] == clusters


def test_the_commonest_target_is_told_where_there_are_targets(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    rows = np.repeat(np.eye(2, 4), [6, 4], axis=0) + np.arange(10)[:, None] * 1e-3
    targets = np.array(["a"] * 5 + ["b"] * 5)
    np.savez(tmp_path / "t.npz", pool=rows.astype(np.float32), target=targets)
    made = {"backbone": "b", "weights": "w", "dataset": "told"}
    report = import_features(
        [tmp_path / "t.npz"], store_root=tmp_path / "stores", **made
    )
    assert run_command(["store", "cluster", report.store, "--k", "2", "--json"]) == 0
    told = capsys.readouterr()
    first, second = json.loads(told.out)["clusters"]
    assert (first["target"], first["share"]) == ("a", pytest.approx(5 / 6))
    assert (second["target"], second["share"]) == ("b", 1.0)
    assert "a (83 %)" in told.err
    # More clusters than rows: as many as there are.
    many = cluster_examples(report.store, k=50)
    assert len(many["clusters"]) == 10  # pyright: ignore
    with pytest.raises(ConfigError, match="2 at least"):
        cluster_examples(store, k=1)
    with pytest.raises(ConfigError, match="a .csv file"):
        cluster_examples(store, out=tmp_path / "c.txt")
