import shutil
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import FeatureStore, open_store
from tl_pipeline.store.verify import verify_store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = load_backbone("pixels", settings={"size": 8, "color": "gray"})
    root = tmp_path_factory.mktemp("stores")
    data = load_dataset("builtin:digits")
    return Path(extract(data, pixels, features=["pool"], store_root=root).store)


@pytest.fixture
def store(made: Path, tmp_path: Path) -> FeatureStore:
    return open_store(shutil.copytree(made, tmp_path / made.name))


def test_new_labels_train_without_data_and_move_no_split(
    store: FeatureStore, tmp_path: Path
):
    before = store.snapshot()
    table = tmp_path / "parity.csv"
    names = ("even", "odd")
    lines = [
        f"{id},{names[int(target or 0) % 2]}"
        for id, target in zip(before.ids, before.targets, strict=True)
    ]
    table.write_text("\n".join(["id,target", *lines]))
    report = train(store.path, run_root=tmp_path / "runs", targets=table, l2=[0.01])
    assert report.test["accuracy"]["value"] > 0.8
    store.reload()
    after = store.snapshot()
    assert after.classes == names
    assert after.splits == before.splits
    np.testing.assert_array_equal(after.content, before.content)
    assert verify_store(store.path)["intact"]
    again = train(store.path, run_root=tmp_path / "runs", targets=table, l2=[0.01])
    assert again.reused


def test_a_table_changes_only_what_it_names(store: FeatureStore, tmp_path: Path):
    before = store.snapshot()
    table = tmp_path / "few.csv"
    table.write_text(f"note,target,id\nx,7,{before.ids[0]}\ny,,{before.ids[1]}\n")
    train(store.path, run_root=tmp_path / "runs", targets=table, l2=[0.01])
    store.reload()
    assert store.snapshot().targets == ("7", None, *before.targets[2:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label\na,b\n", "lack the column target; found id, label"),
        ("", "lack the column id and target; found none"),
        ("id,target", "name no example: only the columns are there"),
        ("id,target\n\n", "name no example: only the columns are there"),
        ("id,target\n0/00O0,x\n", "name 1 ids .*'0/00O0'.*Did you mean '0/00"),
        ("id,target\n0/0000,x\n0/0000,y\n", "line 3: '0/0000' stands there twice"),
        ("id,target,target\n0/0000,x,y\n", "have twice the column target"),
        ("id,target\n0/0000\n", "line 2: 1 values for 2 columns"),
        ("id,target\na,0/0000,x\n", "line 2: 3 values for 2 columns"),
        ('id,target\n0/0000,"x\n', "cannot be read: unexpected end of data"),
        ('id,target\n0/0000,"x"y\n', "cannot be read: ',' expected after"),
        ("id,target\n0/0000,x\0\n", "line 2 holds a zero byte"),
        ("id,target\n\xff\xfe,x\n", "cannot be read"),
        (None, "cannot be read.*No such file"),
    ],
)
def test_a_table_that_cannot_serve_is_refused(
    store: FeatureStore, tmp_path: Path, text: str | None, words: str
):
    table = tmp_path / "t.csv"
    if text is not None:
        table.write_bytes(text.encode("latin-1"))
    manifest = (store.path / "store.json").read_bytes()
    with pytest.raises(DatasetError, match=words):
        train(store.path, run_root=tmp_path / "runs", targets=table)
    assert (store.path / "store.json").read_bytes() == manifest
