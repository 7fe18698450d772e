import os

import h5py
import numpy as np
import pytest

from tl_pipeline.errors import StoreDamagedError
from tl_pipeline.store import reading
from tl_pipeline.store.reading import read_rows
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.shards import build_shard

INFO = FeatureInfo((8,), "float16")


@pytest.fixture
def shard(toy, tmp_path):
    content = toy.make_content(50)
    rows = toy.compute(content, "pool").astype("float16")
    built = build_shard(
        0,
        content,
        {"pool": rows},
        infos={"pool": INFO},
        spec=toy.SPEC,
        recipe="plain",
        view=0,
        versions={},
    )
    path = tmp_path / built.entry.name
    path.write_bytes(built.data)
    return path, built.entry, rows


def count_hashes(monkeypatch) -> list[int]:
    """Counts the bytes that are hashed from now on."""
    hashed: list[int] = []
    digest = reading.bytes_digest
    monkeypatch.setattr(
        reading,
        "bytes_digest",
        lambda data: hashed.append(memoryview(data).nbytes) or digest(data),
    )
    return hashed


def test_a_shard_is_hashed_once_a_process_while_the_file_stays(shard, monkeypatch):
    path, entry, rows = shard
    hashed = count_hashes(monkeypatch)
    for _ in range(3):
        np.testing.assert_array_equal(read_rows(path, entry, "pool", INFO), rows)
    assert hashed == [entry.bytes]
    os.utime(path)
    read_rows(path, entry, "pool", INFO)
    assert hashed == [entry.bytes] * 2


def test_bytes_changed_in_place_after_the_first_use_are_refused(shard):
    path, entry, _ = shard
    read_rows(path, entry, "pool", INFO)
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[entry.bytes // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as `cp -p` does
    with pytest.raises(StoreDamagedError, match="SHA-256 is not the committed one"):
        read_rows(path, entry, "pool", INFO)


def test_content_digests_are_checked_without_reading_a_feature(shard, monkeypatch):
    path, entry, _ = shard
    hashed = count_hashes(monkeypatch)
    assert len(reading.read_keys(path, entry)) == 50
    data = bytearray(path.read_bytes())
    data[entry.keys_offset + 33] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError, match="content digests are not the committ"):
        reading.read_keys(path, entry)
    assert hashed == [50 * 32] * 2


def test_another_length_is_refused_before_anything_is_read(shard, monkeypatch):
    path, entry, _ = shard
    hashed = count_hashes(monkeypatch)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(StoreDamagedError, match=f"instead of {entry.bytes:,}"):
        read_rows(path, entry, "pool", INFO)
    assert hashed == []


@pytest.mark.parametrize("split_rows", [False, True])
def test_rows_that_do_not_lie_plainly_are_read_through_hdf5(
    shard, tmp_path, split_rows
):
    # A chunk whose checksum was skipped, and chunks that split rows: both are HDF5
    # that we do not write and read nonetheless.
    _, entry, rows = shard
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        chunks = (50, 4) if split_rows else (50, 8)
        dataset = file.create_dataset(
            "features/pool", rows.shape, "float16", chunks=chunks, fletcher32=True
        )
        if split_rows:
            dataset[...] = rows
        else:
            dataset.id.write_direct_chunk((0, 0), rows.tobytes(), filter_mask=1)
    data = path.read_bytes()
    layout = reading.read_layouts(path, data, ("pool",))["pool"]
    assert layout.offsets is None
    other = type(entry)(
        **{
            **vars(entry),
            "bytes": len(data),
            "sha256": reading.bytes_digest(data),
        }
    )
    np.testing.assert_array_equal(read_rows(path, other, "pool", INFO), rows)


def test_a_manifest_of_other_shapes_is_refused_before_memory_is_taken(shard):
    path, entry, _ = shard
    with pytest.raises(StoreDamagedError, match=r"the manifest has float16 \[50, 10"):
        read_rows(path, entry, "pool", FeatureInfo((10**12,), "float16"))
