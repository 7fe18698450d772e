import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.stat_cache import StatCache
from tl_pipeline.errors import DatasetError

FORMATS = ["stored.npz", "packed.npz", "plain.h5", "packed.h5"]
N = 6
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, 4, 5, 3), np.uint8)
LABELS = {
    "targets": np.array([3, 10, 3, 10, 3, 3]),
    "ids": np.array(["é", "b", "c", "d", "e", "f"]),
    "splits": np.array(["train", "train", "valid", "test", "train", "train"]),
    "groups": np.array([1, 1, 2, 3, 1, 1], np.uint8),
}


def write(path: Path, **arrays: np.ndarray) -> Path:
    """Writes arrays in the format that the file's name says."""
    if path.suffix == ".npz":
        (np.savez if path.stem == "stored" else np.savez_compressed)(path, **arrays)
        return path
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            is_text = array.dtype.kind == "U"
            packing = "gzip" if path.stem == "packed" and array.ndim > 1 else None
            values = array.astype(object) if is_text else array
            kind = h5py.string_dtype() if is_text else None
            file.create_dataset(name, data=values, dtype=kind, compression=packing)
    return path


def refuse(path: Path, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        load_dataset(path, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_each_row_is_an_image_as_a_npy_file(tmp_path: Path, name: str, shape: tuple):
    images = RNG.integers(0, 256, (N, *shape), np.uint8)
    dataset = load_dataset(write(tmp_path / name, images=images))
    assert dataset.name == name.split(".")[0]
    assert [item.id for item in dataset.items] == [f"{i:08d}" for i in range(N)]
    assert "No targets: all examples are unlabeled." in dataset.notes
    contents = digest_items(dataset, None)
    for image, item, row in zip(images, dataset.items, contents.content, strict=True):
        data = dataset.read(item)
        expected = io.BytesIO()
        np.save(expected, image)
        assert data == expected.getvalue()
        assert row.tobytes() == hashlib.sha256(data).digest()
        assert decode_image(data).size == (5, 4)


@pytest.mark.parametrize("name", FORMATS)
def test_labels_are_read_by_their_conventional_names(tmp_path: Path, name: str):
    dataset = load_dataset(write(tmp_path / name, images=IMAGES, **LABELS))
    rows = {i.id: (i.target, i.split, i.group) for i in dataset.items}
    assert rows["b"] == ("10", "train", "1")
    assert rows["c"] == ("3", "val", "2")
    assert rows["é"] == ("3", "train", "1")
    by_id = {item.id: item for item in dataset.items}
    stored = np.load(io.BytesIO(dataset.read(by_id["é"])))
    np.testing.assert_array_equal(stored, IMAGES[0])


@pytest.mark.parametrize("name", ["stored.npz", "plain.h5"])
def test_text_of_fixed_length_is_text_in_utf_8(tmp_path: Path, name: str):
    targets = np.array([text.encode() for text in ["é", "cat", "", "cat", "é", "cat"]])
    dataset = load_dataset(write(tmp_path / name, images=IMAGES, targets=targets))
    targets[0] = b"\xff"
    assert [i.target for i in dataset.items] == ["é", "cat", None, "cat", "é", "cat"]
    path = write(tmp_path / f"other-{name}", images=IMAGES, targets=targets)
    assert "'targets' is no UTF-8" in refuse(path)


@pytest.mark.parametrize("name", FORMATS)
def test_arrays_may_be_named_otherwise(tmp_path: Path, name: str):
    path = write(tmp_path / name, x=IMAGES, y=LABELS["targets"])
    dataset = load_dataset(path, columns={"path": "x", "target": "y"})
    assert {item.target for item in dataset.items} == {"3", "10"}
    assert "no array 'images' or 'image' for the path; found 'x', 'y'" in refuse(path)


def test_the_same_pixels_have_the_same_digest_in_every_format(tmp_path: Path):
    digests = set()
    for name in FORMATS:
        dataset = load_dataset(write(tmp_path / name, images=IMAGES))
        digests.add(digest_items(dataset, None).content.tobytes())
    images = np.asfortranarray(IMAGES)
    for name in ("stored.npz", "packed.npz"):
        fortran = load_dataset(write(tmp_path / name, images=images))
        digests.add(digest_items(fortran, None).content.tobytes())
    assert len(digests) == 1


def test_a_row_of_a_stored_array_is_read_without_the_others(tmp_path: Path):
    path = tmp_path / "stored.npz"
    write(path, images=np.zeros((2, 8, 8), np.uint8), tail=np.zeros(1, np.uint8))
    dataset = load_dataset(path)
    read_bytes = []
    pread = os.pread

    def count(*arguments):
        data = pread(*arguments)
        read_bytes.append(len(data))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", count)
        dataset.read(dataset.items[1])
    assert read_bytes == [64]


@pytest.mark.parametrize("name", FORMATS)
def test_an_unchanged_file_is_not_read_again(tmp_path: Path, name: str):
    path = write(tmp_path / name, images=IMAGES)
    os.utime(path, (1, 1))
    cache_path = tmp_path / "cache.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tl_pipeline.data.stat_cache.SETTLED_NS", 0)
        with StatCache(cache_path) as cache:
            assert digest_items(load_dataset(path), cache).hashed == N
            assert digest_items(load_dataset(path), cache).hashed == 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_changes_after_it_was_listed_gives_no_rows(
    tmp_path: Path, name: str
):
    path = write(tmp_path / name, images=IMAGES)
    dataset = load_dataset(path)
    other = write(tmp_path / f"other-{name}", images=IMAGES[::-1].copy())
    other.replace(path)
    contents = digest_items(dataset, None)
    assert len(contents.unreadable) == N
    assert "changed after it was listed" in contents.unreadable[0][1]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((5, 9), "f4")}, "float32 [5, 9]: one row of numbers"),
        ({"images": np.zeros((5, 9), "f4")}, "`tl-pipeline store import` is for them"),
        ({"images": np.zeros((5, 2, 2), "f4")}, "scale the values to 0..255"),
        ({"images": np.zeros((5, 3, 8, 8), "u1")}, "move the channels last"),
        ({"images": np.zeros((5, 8, 8, 2), "u1")}, "C is not 1, 3 or 4"),
        ({"images": np.zeros(5, "u1")}, "no array of images"),
        ({"images": np.zeros((0, 8, 8), "u1")}, "it has no pixels"),
        ({"pixels": IMAGES}, "no array 'images' or 'image' for the path"),
        ({"images": IMAGES, "image": IMAGES}, "images and image may both be the path"),
        ({"images": IMAGES, "targets": np.zeros(5, int)}, "int64 [5]; needed is one"),
        ({"images": IMAGES, "targets": np.zeros((N, 2), int)}, "int64 [6, 2]; needed"),
        (
            {"images": IMAGES, "groups": np.zeros(N)},
            "float64 [6]; needed is one",
        ),
        (
            {"images": IMAGES, "ids": np.zeros(N, int)},
            "5 rows with the id of a",
        ),
        (
            {"images": IMAGES, "splits": np.full(N, "dev")},
            "6 rows with an unknown",
        ),
        ({"images": IMAGES, "ids": np.array([*"abcde", ""])}, "without an id: row 6"),
    ],
)
@pytest.mark.parametrize("name", ["stored.npz", "plain.h5"])
def test_what_is_no_array_of_images_says_so(
    tmp_path: Path, name: str, arrays: dict, words: str
):
    assert words in refuse(write(tmp_path / name, **arrays))


class Alarm:
    """Says when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    targets = np.array([Alarm()] * N, dtype=object)
    path = tmp_path / "stored.npz"
    np.savez(path, images=IMAGES, targets=targets)
    assert "'targets' holds pickled objects, which are never loaded" in refuse(path)
    assert not (tmp_path / "unpickled").exists()


def test_a_packed_array_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "packed.npz", images=np.zeros((99, 64, 64), np.uint8))
    monkeypatch.setattr("tl_pipeline.data.array_files.MAX_UNPACKED", 10**5)
    assert "is compressed, and unpacks to 405,632 bytes" in refuse(path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str):
    path = write(tmp_path / name, images=IMAGES, **LABELS)
    data = path.read_bytes()
    for share in (0, 0.3, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        assert "cannot be read" in refuse(path)


def make_link(file: h5py.File):
    file["images"] = h5py.ExternalLink("/etc/passwd", "/")


def make_view(file: h5py.File):
    layout = h5py.VirtualLayout((4, 2, 2), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4, 2, 2))
    file.create_virtual_dataset("images", layout)


def make_bomb(file: h5py.File):
    file.create_dataset("images", (10**6, 99, 99), "u1", chunks=(1, 99, 99))


def make_gaps(file: h5py.File):
    images = file.create_dataset(
        "images", (4, 64, 64), "u1", chunks=(1, 64, 64), compression="gzip"
    )
    images[0] = RNG.integers(0, 256, (64, 64), np.uint8)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_link, "it is a link (ExternalLink)"),
        (make_view, "it is a view of other datasets"),
        (make_bomb, "it declares 9,801,000,000 bytes and the file holds 0"),
        (make_gaps, "1 of 4 chunks are written"),
    ],
)
def test_hdf5_that_takes_or_makes_up_its_data_is_refused(tmp_path: Path, make, words):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    assert words in refuse(tmp_path / "a.h5")


def test_hdf5_chunks_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch):
    path = write(tmp_path / "packed.h5", images=IMAGES)
    monkeypatch.setattr("tl_pipeline.hdf5.MAX_CHUNK_BYTES", 10)
    assert "/images: it has chunks of" in refuse(path)


@pytest.mark.parametrize("chunks", [None, (4,)])
def test_hdf5_texts_that_declare_too_much_are_refused_before_they_are_read(
    tmp_path: Path, chunks: tuple[int] | None, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["images"] = IMAGES
        ids = [*"abcde", "twelve bytes"]
        file.create_dataset("ids", data=ids, dtype=h5py.string_dtype(), chunks=chunks)
    assert load_dataset(path).items[-1].id == "twelve bytes"
    with monkeypatch.context() as patch:
        patch.setattr("tl_pipeline.data.hdf5_arrays.MAX_TEXT_BYTES", 16)
        assert "'ids': it declares 17 bytes of text" in refuse(path)
    # Only the reference is edited, not the text itself with its length before it.
    before, text, after = path.read_bytes().partition(b"\x0c" + bytes(7) + b"twelve")
    edited = [
        part.replace(struct.pack("<I", 12), struct.pack("<I", 2**29))
        for part in (before, after)
    ]
    path.write_bytes(text.join(edited))
    assert f"'ids': it declares {2**29 + 5:,} bytes of text" in refuse(path)


def test_hdf5_texts_that_are_packed_are_refused(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = IMAGES
        kind = h5py.string_dtype()
        file.create_dataset("ids", data=[*"abcdef"], dtype=kind, compression="gzip")
    assert "'ids': its texts are packed" in refuse(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["stored.npz", "plain.h5"])
def test_numbers_are_targets_and_further_arrays_are_kept(tmp_path: Path, name: str):
    lengths = np.array([0.5, 1, np.nan, 2, 3, 4])
    cameras = np.array([*"aabbbb"])
    path = write(tmp_path / name, images=IMAGES, length=lengths, camera=cameras)
    dataset = load_dataset(path, columns={"target": "length"}, keep=["camera"])
    targets = [item.target for item in dataset.items]
    assert targets == ["0.5", "1", None, "2", "3", "4"]
    assert dataset.column_names == ("camera",)
    assert [item.columns for item in dataset.items] == [(c,) for c in "aabbbb"]
    dataset = load_dataset(path, targets=["length", "camera"])
    assert dataset.items[0].target == "0.5, a"
    assert dataset.items[2].columns == (None, "b")


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_rows_of_hdf5_chunks_that_do_not_unpack_to_their_size_fail(
    tmp_path: Path, compression: str
):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset(
            "images",
            data=IMAGES,
            chunks=(2, *IMAGES.shape[1:]),
            compression=compression,
        )
        short = zlib.compress(b"x") if compression == "gzip" else bytes([0, 1])
        images.id.write_direct_chunk((2, *[0] * (IMAGES.ndim - 1)), short)
    dataset = load_dataset(tmp_path / "a.h5")
    for row in (1, 4):
        assert dataset.read(dataset.items[row]).endswith(IMAGES[row].tobytes())
    for row in (2, 3):
        with pytest.raises(OSError, match="a chunk does not unpack to its size"):
            dataset.read(dataset.items[row])
