from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import NotFoundError, RequestError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.plain_file import SUFFIXES, export_store
from tl_pipeline.store.store import Rows, open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    pixels = load_backbone("pixels", settings={"size": 4, "color": "gray"})
    root = tmp_path_factory.mktemp("stores")
    data = load_dataset("builtin:digits-shifted")
    return extract(data, pixels, features=["pool"], store_root=root).store


@pytest.fixture
def rows(store: str) -> Rows:
    return open_store(store).read("pool")


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_every_format_holds_the_same_rows(
    store: str, rows: Rows, tmp_path: Path, suffix: str
):
    out = tmp_path / f"x{suffix}"
    assert export_store(store, out) == len(rows.ids) == 896
    if suffix == ".h5":
        with h5py.File(out) as file:
            found = {name: file[name][()] for name in file}
        texts = {n: [t.decode() for t in found[n]] for n in ("id", "target", "split")}
    else:
        with np.load(out, allow_pickle=False) as file:
            found = dict(file)
        texts = {name: found[name].tolist() for name in ("id", "target", "split")}
    np.testing.assert_array_equal(found["pool"], rows.features)
    assert found["pool"].dtype == np.float16
    assert tuple(texts["id"]) == rows.ids
    assert tuple(texts["target"]) == rows.targets
    assert tuple(texts["split"]) == rows.splits


def test_parquet_has_nulls_and_fixed_lists(store: str, rows: Rows, tmp_path: Path):
    export_store(store, tmp_path / "x.parquet")
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["group"].null_count == 896
    assert table["id"].to_pylist() == list(rows.ids)
    flat = table["pool"].combine_chunks().flatten().to_numpy()
    np.testing.assert_array_equal(flat.reshape(896, 16), rows.features)
    assert table["content_digest"][0].as_py() == rows.content[0].tobytes().hex()


def test_the_same_store_exports_to_the_same_bytes(store: str, tmp_path: Path):
    for suffix in (".npz", ".parquet"):
        for name in "ab":
            export_store(store, tmp_path / (name + suffix))
        one, two = (tmp_path / (name + suffix) for name in "ab")
        assert one.read_bytes() == two.read_bytes()


def test_an_unknown_suffix_or_feature_is_refused(store: str, tmp_path: Path):
    with pytest.raises(RequestError, match=r"x\.csv.*\.h5, \.npz, \.parquet"):
        export_store(store, tmp_path / "x.csv")
    with pytest.raises(NotFoundError, match="stage9"):
        export_store(store, tmp_path / "x.h5", features=["stage9"])
    assert list(tmp_path.iterdir()) == []
    assert set(SUFFIXES) == {".h5", ".npz", ".parquet"}
