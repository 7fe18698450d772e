import io

import h5py
import numpy as np
import pytest

from tl_pipeline.errors import StoreDamagedError
from tl_pipeline.store.guards import check_contents, check_dataset


def check(make, *, size=None):
    """Writes a file and checks it as a stranger's."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        make(file)
    with h5py.File(buffer, "r") as file:
        size = size or len(buffer.getbuffer())
        check_contents(file, size=size, what="shard.h5")


def test_a_plain_file_passes():
    def make(file):
        file.create_dataset("features/pool", data=np.ones((9, 2)), fletcher32=True)
        file["names"] = np.array([b"a"])

    check(make)


def make_virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (4,))
    file.create_virtual_dataset("x", layout)


def make_external(file):
    file.create_dataset("x", (4,), "f4", external=[("/etc/passwd", 0, 16)])


def make_soft_link(file):
    file["x"] = h5py.SoftLink("/")


def make_external_link(file):
    file["features/x"] = h5py.ExternalLink("/etc/passwd", "/")


def make_cycle(file):
    file.create_group("features")["x"] = file["/"]


def make_object(file):
    file.create_dataset("x", (2,), h5py.string_dtype())


def make_bomb(file):
    file.create_dataset("x", (10**9,), "f4", chunks=(10**6,))


def make_compressed(file):
    file.create_dataset("x", data=np.zeros(10**6), compression="gzip")


def make_type(file):
    file["x"] = np.dtype("f4")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_virtual, "/x takes its data from elsewhere"),
        (make_external, "/x takes its data from elsewhere"),
        (make_soft_link, "/x is a link"),
        (make_external_link, "/features/x is a link"),
        (make_cycle, "/features/x is neither"),
        (make_object, "/x has type object"),
        (make_bomb, "declares 4,000,000,000 bytes"),
        (make_compressed, "goes through a filter"),
        (make_type, "/x is neither a dataset nor a group"),
    ],
)
def test_what_no_file_of_a_store_has_is_refused(make, words):
    with pytest.raises(StoreDamagedError, match=words):
        check(make)


def test_unwritten_rows_are_refused_because_hdf5_reads_them_as_zeros():
    def make(file):
        dataset = file.create_dataset("x", (100, 2), "f4", chunks=(10, 2))
        dataset[:50] = 1
        file["ballast"] = np.zeros(10**4)

    with pytest.raises(StoreDamagedError, match="does not hold them all"):
        check(make)


def test_many_names_for_the_same_bytes_do_not_add_up_to_more_than_the_file():
    def make(file):
        file["a"] = np.zeros(10**4)
        for i in range(5):
            file[f"b{i}"] = file["a"]

    with pytest.raises(StoreDamagedError, match="does not hold them all"):
        check(make)


def test_another_shape_names_both():
    with h5py.File(io.BytesIO(), "w") as file:
        file["x"] = np.zeros((2, 3), "f4")
        with pytest.raises(StoreDamagedError, match=r"float32 \[2, 3\]; .*\[3, 3\]"):
            check_dataset(file, "x", shape=(3, 3), dtype="float32", what="a.h5")
        with pytest.raises(StoreDamagedError, match="a.h5 has no dataset y"):
            check_dataset(file, "y", shape=(3, 3), dtype="float32", what="a.h5")
