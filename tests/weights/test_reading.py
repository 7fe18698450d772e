import hashlib
import struct
import subprocess
import sys

import numpy as np
import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors
from tl_pipeline.weights.safetensors import write_safetensors


def test_safetensors_come_back_as_they_were_written(tmp_path):
    arrays = {"b": np.ones((2, 3), np.float32), "a": np.float16([1.5])}
    path = tmp_path / "w.safetensors"
    write_safetensors(path, arrays, metadata={"license": "free"})
    tensors = load_tensors(path)
    assert tensors.format == "safetensors"
    assert tensors.metadata == {"license": "free"}
    assert tensors.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(tensors.arrays) == {"a", "b"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(tensors.arrays[name], array, strict=True)


def test_equal_tensors_are_written_as_equal_bytes(tmp_path):
    a, b = np.zeros(3), np.ones(2)
    write_safetensors(tmp_path / "1", {"a": a, "b": b}, metadata={})
    write_safetensors(tmp_path / "2", {"b": b, "a": a}, metadata={})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("size", [0, 5, 50, -1])
def test_truncated_safetensors_are_one_sentence(tmp_path, size):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": np.ones(50, np.float32)}, metadata={})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(WeightsError, match="w.safetensors are no whole.*truncated"):
        load_tensors(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match="nowhere.h5: there is no such file. Give"):
        load_tensors(tmp_path / "nowhere.h5")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "w.h5").mkdir()
    with pytest.raises(WeightsError, match="w.h5: it is a folder"):
        load_tensors(tmp_path / "w.h5")


def test_a_name_without_suffix_that_is_not_there_is_no_unknown_format(tmp_path):
    with pytest.raises(WeightsError, match="there is no such file"):
        load_tensors(tmp_path / "mobilenet")


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(
        WeightsError, match=r"'.pkl' files. Known are .h5, .hdf5, .npz, .saf"
    ):
        load_tensors(tmp_path / "w.pkl")


def write_header(path, header: str, data: bytes) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + data)


ENTRY = '{"dtype": "%s", "shape": [1], "data_offsets": [%d, %d]}'


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (
            f'{{"a": {ENTRY % ("F32", 0, 4)}, "a": {ENTRY % ("I32", 0, 4)}}}',
            bytes(4),
            "its header has a name twice",
        ),
        (f'{{"a": {ENTRY % ("F8_E5M2", 0, 1)}}}', bytes(1), "a dtype that NumPy lacks"),
        (f'{{"a": {ENTRY % ("F8_E4M3", 0, 1)}}}', bytes(1), "a dtype that NumPy lacks"),
        ('{"a": ' + "[" * 9999, b"", "no whole safetensors file"),
        ('{"' + "a" * 9999 + '": 1}', b"", "no whole safetensors file"),
    ],
)
def test_odd_headers_of_safetensors_are_one_sentence(tmp_path, header, data, words):
    path = tmp_path / "w.safetensors"
    write_header(path, header, data)
    with pytest.raises(WeightsError, match=words) as caught:
        load_tensors(path)
    assert len(str(caught.value)) < 500


def test_bfloat16_is_widened_without_loss_whatever_else_was_imported(tmp_path):
    path = tmp_path / "w.safetensors"
    write_header(path, f'{{"a": {ENTRY % ("BF16", 0, 2)}}}', b"\xc0\x3f")
    code = (
        "import sys, pathlib, tl_pipeline.weights.reading as r;"
        "t = r.load_tensors(pathlib.Path(sys.argv[1]));"
        "a = t.arrays['a']; print(a.dtype, a[0], 'jax' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True
    )
    assert shown.stdout.split() == ["float32", "1.5", "False"], shown.stderr
