import os
import struct

import numpy as np
import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.darknet import read_darknet
from tl_pipeline.weights.reading import load_tensors

TRUNK = 40_620_640  # numbers
HEADER = struct.pack("<3iq", 0, 2, 0, 7)
PARTS = ("beta", "gamma", "mean", "var", "kernel")


def write_sparse(path, n_bytes, *, header=HEADER):
    path.write_bytes(header)
    os.truncate(path, n_bytes)  # zeros that take no room
    return path


@pytest.mark.parametrize(
    ("name", "n_bytes", "more"),
    [
        ("darknet53.conv.74", 162_482_580, {}),
        (
            "darknet53.weights",
            162_482_580 + 4 * 1_025_000,
            {"classifier.bias": (1000,), "classifier.kernel": (1000, 1024, 1, 1)},
        ),
        ("yolov3.weights", 248_007_048, {"detector": (21_381_117,)}),
        # Three boxes of 5 + 20 numbers instead of 5 + 80, on 1024, 512 and 256.
        ("yolov3-voc.weights", 248_007_048 - 4 * 180 * 1795, None),
    ],
)
def test_files_of_the_published_sizes_are_read(tmp_path, name, n_bytes, more):
    arrays, metadata = read_darknet(write_sparse(tmp_path / name, n_bytes))
    shapes = {name: array.shape for name, array in arrays.items()}
    assert list(shapes)[:5] == [f"conv0.{part}" for part in PARTS]
    assert shapes["conv51.kernel"] == (1024, 512, 3, 3)
    assert sum(n.endswith("kernel") and n[:4] == "conv" for n in shapes) == 52
    assert more is None or {k: shapes[k] for k in list(shapes)[260:]} == more
    assert sum(array.size for array in arrays.values()) * 4 + 20 == n_bytes
    assert not metadata


def test_the_numbers_follow_one_another_after_headers_of_both_lengths(tmp_path):
    values = np.arange(TRUNK, dtype="<f4")
    for version, seen in ((1, "i"), (2, "q")):
        path = tmp_path / "d.weights"
        path.write_bytes(struct.pack(f"<3i{seen}", 0, version, 0, 9) + values.tobytes())
        arrays, _ = read_darknet(path)
        joined = np.concatenate([array.ravel() for array in arrays.values()])
        np.testing.assert_array_equal(joined, values)
    assert arrays["conv0.gamma"][0] == 32 and arrays["conv0.kernel"][0, 0, 0, 1] == 129


@pytest.mark.parametrize(
    "n_bytes",
    [
        *(20, 162_482_576, 162_482_581, 162_482_584),
        *(248_007_044, 248_007_052, 248_007_048 + 4 * 1795),
    ],
)
def test_a_file_of_another_size_is_refused_in_a_sentence(tmp_path, n_bytes):
    path = write_sparse(tmp_path / "d.weights", n_bytes)
    with pytest.raises(WeightsError, match="are not of Darknet-53: its trunk") as error:
        read_darknet(path)
    assert f"{n_bytes - 20:,} bytes" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("header", [b"", b"\x89PNG\r\n\x1a\n0123", b"short"])
def test_a_file_without_such_a_header_is_refused(tmp_path, header):
    path = tmp_path / "d.weights"
    path.write_bytes(header)
    with pytest.raises(WeightsError, match="no file of Darknet's: it begins with b"):
        load_tensors(path)
