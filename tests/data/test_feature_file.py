import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tl_pipeline.data.feature_file import load_feature_files
from tl_pipeline.errors import DatasetError

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)
IDS = ("a", "b", "c", "d")


def write_npz(path: Path) -> None:
    np.savez(path, pool=ROWS, ids=np.array(IDS), labels=np.array([3, 1, 3, 1]))


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("pool", data=ROWS, chunks=(2, 3), compression="gzip")
        file.create_dataset("ids", data=list(IDS), dtype=h5py.string_dtype())
        file["labels"] = np.array([3, 1, 3, 1])


def write_parquet(path: Path) -> None:
    rows = pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 3)
    table = {"pool": rows, "ids": list(IDS), "labels": [3, 1, 3, 1]}
    pq.write_table(pa.table(table), path)


@pytest.mark.parametrize("write", [write_npz, write_h5, write_parquet])
def test_every_format_gives_the_same_table(
    write: Callable[[Path], None], tmp_path: Path
):
    path = tmp_path / ("x." + write.__name__.removeprefix("write_"))
    write(path)
    table = load_feature_files([path])
    assert list(table.features) == ["pool"] and table.ignored == ()
    np.testing.assert_array_equal(table.features["pool"], ROWS)
    assert table.columns == {"id": IDS, "target": ("3", "1", "3", "1")}


def test_npy_files_are_features_by_their_stems(tmp_path: Path):
    np.save(tmp_path / "early.npy", ROWS)
    np.save(tmp_path / "late.npy", ROWS.astype(np.float16))
    (tmp_path / "ids.txt").write_text("a\nb\r\nc\nd\n")
    table = load_feature_files(
        [tmp_path / "early.npy", tmp_path / "late.npy"],
        ids=tmp_path / "ids.txt",
        features=["late=pool", "early"],
    )
    assert {n: a.dtype.name for n, a in table.features.items()} == {
        "pool": "float16",
        "early": "float32",
    }
    assert table.columns["id"] == IDS


def test_a_table_of_ids_brings_the_other_columns(tmp_path: Path):
    np.save(tmp_path / "x.npy", ROWS)
    (tmp_path / "ids.csv").write_text(
        '\ufeffid,label,split\na,"two\nlines",train\nb,,test\nc,x,train\nd,y,\n'
    )
    table = load_feature_files([tmp_path / "x.npy"], ids=tmp_path / "ids.csv")
    assert table.columns["target"] == ("two\nlines", None, "x", "y")
    assert table.columns["split"] == ("train", "test", "train", None)


def refuse(files: list[Path], **options: object) -> str:
    with pytest.raises(DatasetError) as caught:
        load_feature_files(files, **options)  # pyright: ignore[reportArgumentType]
    return str(caught.value)


def test_rows_and_columns_must_be_as_many(tmp_path: Path):
    np.savez(tmp_path / "x.npz", pool=ROWS, id=np.array(["a", "b"]))
    assert "pool 4, column id 2" in refuse([tmp_path / "x.npz"])
    np.savez(tmp_path / "y.npz", pool=ROWS[:0])
    assert "at least one" in refuse([tmp_path / "y.npz"])


def test_what_is_no_feature_is_named(tmp_path: Path):
    np.savez(tmp_path / "x.npz", images=np.zeros((4, 8, 8), np.uint8))
    assert "images uint8 [4, 8, 8]" in refuse([tmp_path / "x.npz"])
    np.savez(tmp_path / "y.npz", pool=ROWS, mean=ROWS[0])
    assert load_feature_files([tmp_path / "y.npz"]).ignored == ("mean",)
    message = refuse([tmp_path / "y.npz"], features=["mean"])
    assert "mean" in message and "pool float32 [4, 3]" in message


def test_a_pickle_is_never_opened(tmp_path: Path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.savez(file, pool=np.array([[print]], object))
    assert "pickle" in refuse([tmp_path / "x.npz"])


def test_a_damaged_file_is_named(tmp_path: Path):
    for suffix in (".npz", ".npy", ".h5", ".parquet"):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(b"not at all" * 20)
        assert str(path) in refuse([path])
    assert ".npz, .npy, .h5" in refuse([tmp_path / "x.mat"])


def test_a_dataset_that_reads_as_zeros_is_refused(tmp_path: Path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        unwritten = file.create_dataset("pool", (4, 3), "f4", chunks=(2, 3))
        unwritten[:2] = 1.0
    assert "never written" in refuse([path])
    with h5py.File(path, "w") as file:
        file.create_dataset("pool", (10**9, 10**6), "f4")
    assert "never written" in refuse([path])


def test_a_chunk_that_unpacks_to_less_than_its_rows_is_refused(tmp_path: Path):
    path = tmp_path / "x.h5"
    write_h5(path)
    with h5py.File(path, "r+") as file:
        file["pool"].id.write_direct_chunk((2, 0), zlib.compress(b"few"))
    assert "a chunk does not unpack to its size" in refuse([path])


@pytest.mark.parametrize("link", [h5py.SoftLink("/"), h5py.ExternalLink("y.h5", "/")])
def test_a_link_is_refused(link: object, tmp_path: Path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["pool"] = link
    assert "link" in refuse([tmp_path / "x.h5"])


def test_ids_without_their_column_are_refused(tmp_path: Path):
    np.save(tmp_path / "x.npy", ROWS)
    (tmp_path / "ids.csv").write_text("name,label\na,x\n")
    assert "found name, label" in refuse([tmp_path / "x.npy"], ids=tmp_path / "ids.csv")
