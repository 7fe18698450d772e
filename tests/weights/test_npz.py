import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors

ARRAYS = {
    "Transformer/encoder_norm/scale": np.linspace(0, 1, 8, dtype=np.float32),
    "cls": np.arange(6.0).reshape(1, 1, 6),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_under_the_ways_to_them(path, save):
    save(path, **ARRAYS)
    tensors = load_tensors(path)
    assert tensors.format == "google-npz"
    assert list(tensors.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(tensors.arrays[name], array, strict=True)


def test_objects_are_refused(path):
    np.savez(path, a=np.array([{}], object))
    with pytest.raises(WeightsError, match="the dtype of a.npy is object"):
        load_tensors(path)


def test_an_array_of_another_size_than_declared_is_refused(path):
    file = io.BytesIO()
    np.save(file, np.zeros(4, np.float32))
    for found in (b"(5,), ", b"(3,), "):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", file.getvalue().replace(b"(4,), ", found))
        with pytest.raises(WeightsError, match=r"a.npy has 16 bytes, and not \[[35]\]"):
            load_tensors(path)


def test_what_packs_too_well_is_refused_before_it_is_unpacked(path):
    np.savez_compressed(path, a=np.zeros(2**22, np.float32))
    with pytest.raises(WeightsError, match="a.npy declares 16,777,344 bytes"):
        load_tensors(path)


def test_a_flipped_bit_is_noticed(path):
    np.savez(path, **ARRAYS)
    data = bytearray(path.read_bytes())
    data[data.index(np.float32(1).tobytes()) + 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="scale.npy has another checksum"):
        load_tensors(path)


def test_a_file_that_changes_while_it_is_read_is_noticed(path):
    np.savez(path, **ARRAYS)
    tensors = load_tensors(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(np.float64(5).tobytes(), np.float64(6).tobytes()))
    with pytest.raises(WeightsError, match="cls.npy has another checksum"):
        tensors.arrays["cls"]


def test_other_files_in_it_are_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="its readme.txt is no array"):
        load_tensors(path)
