import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors


def write_layers(group: h5py.Group, layers: dict[str, dict[str, np.ndarray]]) -> None:
    group.attrs["layer_names"] = [name.encode() for name in layers]
    for layer, weights in layers.items():
        below = group.create_group(layer)
        below.attrs["weight_names"] = [name.encode() for name in weights]
        for name, array in weights.items():
            below[name] = array


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.h5"


KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("name", ["conv/kernel", "conv/kernel:0", "conv_1/kernel:0"])
def test_a_tensor_is_called_layer_and_leaf_whatever_keras_wrote_between(path, name):
    with h5py.File(path, "w") as file:
        write_layers(file, {"input": {}, "conv": {name: KERNEL}})
    tensors = load_tensors(path)
    assert tensors.format == "keras-h5"
    assert list(tensors.arrays) == ["conv/kernel"]
    np.testing.assert_array_equal(tensors.arrays["conv/kernel"], KERNEL)


def test_a_whole_saved_model_gives_its_weights_and_not_its_optimizer(path):
    with h5py.File(path, "w") as file:
        write_layers(file.create_group("model_weights"), {"a": {"a/bias:0": KERNEL}})
        file["optimizer_weights/m"] = KERNEL
    assert list(load_tensors(path).arrays) == ["a/bias"]


def test_names_that_keras_cut_into_parts_are_joined(path):
    with h5py.File(path, "w") as file:
        write_layers(file, {"a": {"a/bias": KERNEL}, "b": {"b/bias": KERNEL}})
        del file.attrs["layer_names"]
        file.attrs["layer_names0"] = [b"a"]
        file.attrs["layer_names1"] = [b"b"]
    assert list(load_tensors(path).arrays) == ["a/bias", "b/bias"]


def test_a_model_inside_a_model_keeps_its_tensors_apart(path):
    with h5py.File(path, "w") as file:
        inner = {"c1/kernel:0": KERNEL, "c2/kernel:0": KERNEL + 1}
        write_layers(file, {"net": inner})
    assert list(load_tensors(path).arrays) == ["net/kernel", "c2/kernel"]


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01, 0.0])
def test_a_truncated_file_is_one_sentence(path, share):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {"conv/kernel": np.ones((200, 200), np.float32)}})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match="weights.h5 are no whole HDF5.*truncated"):
        load_tensors(path)


def test_a_flipped_bit_is_an_error_of_ours_or_another_value(path):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {"conv/kernel": KERNEL}})
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        flipped = bytearray(data)
        flipped[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            load_tensors(path)
        except WeightsError:
            refused += 1
    assert refused > 10


def test_a_file_without_layers_is_said(path):
    with h5py.File(path, "w") as file:
        file["conv/kernel"] = KERNEL
    with pytest.raises(WeightsError, match="no layout of Keras: it lists no layers"):
        load_tensors(path)


@pytest.mark.parametrize("libver", ["earliest", "v110"])
def test_a_heap_of_names_without_an_end_is_refused(path, libver):
    with h5py.File(path, "w", libver=libver) as file:
        write_layers(file, {"conv": {"conv/kernel": KERNEL}})
    data = bytearray(path.read_bytes())
    at = data.index(b"GCOL") + 24  # the size of the first object
    data[at - 8 : at + 8] = bytes(16)
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"its heap at byte [\d,]+ is damaged"):
        load_tensors(path)


def test_names_that_declare_more_than_the_file_holds_are_refused(path):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {"conv/kernel": KERNEL}})
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL").to_bytes(8, "little")
    at = data.index(b"layer_names")
    at = data.index((4).to_bytes(4, "little") + heap, at)
    data[at : at + 4] = b"\xf0\0\0\x10"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"declares 268,435,\d+ bytes of text"):
        load_tensors(path)


@pytest.mark.parametrize("names", [[1, 2], [[b"conv"]], 3.5, "conv", h5py.Empty("S4")])
def test_an_attribute_that_is_no_list_of_names_is_refused(path, names):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {"conv/kernel": KERNEL}})
        file.attrs["layer_names"] = names
    with pytest.raises(WeightsError, match="layer_names: it is no list of names"):
        load_tensors(path)


def test_links_out_of_the_file_are_refused(path, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["kernel"] = KERNEL
    for link in (h5py.ExternalLink("secret.h5", "/kernel"), h5py.SoftLink("/conv/b")):
        with h5py.File(path, "w") as file:
            write_layers(file, {"conv": {"conv/b": KERNEL}})
            file["conv/kernel"] = link
            file["conv"].attrs["weight_names"] = [b"kernel"]
        with pytest.raises(
            WeightsError, match=f"/conv/kernel: .*{type(link).__name__}"
        ):
            load_tensors(path)


def test_values_in_another_file_are_refused(path, tmp_path):
    (tmp_path / "raw").write_bytes(KERNEL.tobytes())
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {}})
        external = [(str(tmp_path / "raw"), 0, KERNEL.nbytes)]
        file.create_dataset("conv/k", KERNEL.shape, KERNEL.dtype, external=external)
    with pytest.raises(WeightsError, match="values are in another file"):
        load_tensors(path)


def test_a_view_of_other_datasets_is_refused(path, tmp_path):
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "k", (2, 3))
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {}})
        file.create_virtual_dataset("conv/k", layout)
    with pytest.raises(WeightsError, match="a view of other datasets"):
        load_tensors(path)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_dataset_larger_than_the_file_is_refused_before_it_is_read(path, compression):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {}})
        file["conv"].attrs["weight_names"] = [b"k"]
        file["conv"].create_dataset(
            "k", (2**12, 2**12), "f4", chunks=(2**10, 2**4), compression=compression
        )
    with pytest.raises(WeightsError, match="declares 67,108,864 bytes"):
        load_tensors(path)


def test_objects_and_text_are_refused(path):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {}})
        file["conv/k"] = "text"
    with pytest.raises(WeightsError, match="its dtype is object"):
        load_tensors(path)


def test_a_circle_of_groups_ends(path):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {"conv/kernel": KERNEL}})
        file["conv/again"] = file["/"]
    assert list(load_tensors(path).arrays) == ["conv/kernel"]


def write_packed(path: Path, **options) -> None:
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {}})
        file["conv"].attrs["weight_names"] = [b"k"]
        values = np.arange(40, dtype=np.float32)
        file["conv"].create_dataset("k", data=values, chunks=(10,), **options)


PACKINGS = (
    {},
    {"compression": "gzip"},
    {"compression": "gzip", "shuffle": True, "fletcher32": True},
    {"compression": "lzf"},
    {"compression": "lzf", "shuffle": True, "fletcher32": True},
)


@pytest.mark.parametrize("options", PACKINGS)
def test_chunks_are_read_as_they_were_packed(path: Path, options):
    write_packed(path, **options)
    np.testing.assert_array_equal(load_tensors(path).arrays["conv/k"], np.arange(40))


@pytest.mark.parametrize(
    ("options", "chunk"),
    [
        ({"compression": "gzip"}, zlib.compress(bytes(36))),
        ({"compression": "gzip"}, zlib.compress(bytes(44))),
        ({"compression": "gzip"}, zlib.compress(bytes(40))[:-5]),
        ({"compression": "gzip"}, b"no zlib"),
        ({"compression": "lzf"}, bytes([31]) + bytes(32)),
        ({"compression": "lzf"}, bytes([31]) + bytes(9)),
        ({"compression": "lzf"}, bytes([0, 0, 7 << 5, 255, 0])),
    ],
)
def test_a_chunk_of_another_size_is_refused(path: Path, options, chunk: bytes):
    write_packed(path, **options)
    with h5py.File(path, "r+") as file:
        file["conv/k"].id.write_direct_chunk((20,), chunk)
    with pytest.raises(WeightsError, match="/conv/k: a chunk does not unpack to its"):
        load_tensors(path)


def test_chunks_that_were_never_written_are_refused(path: Path):
    write_packed(path, compression="gzip")
    with h5py.File(path, "r+") as file:
        del file["conv/k"]
        made = file["conv"].create_dataset("k", (40,), "f4", chunks=(10,), fillvalue=7)
        made[:30] = np.arange(30)
    with pytest.raises(WeightsError, match="declares 160 bytes and the file holds 120"):
        load_tensors(path)
    write_packed(path, compression="gzip")
    with h5py.File(path, "r+") as file:
        del file["conv/k"]
        made = file["conv"].create_dataset(
            "k", (40,), "f4", chunks=(10,), fillvalue=7, compression="gzip"
        )
        made[:30] = np.arange(30)
    with pytest.raises(WeightsError, match="3 of 4 chunks are written"):
        load_tensors(path)


def test_filters_that_h5py_does_not_write_are_refused(path: Path):
    write_packed(path, scaleoffset=4)
    with pytest.raises(WeightsError, match="packed otherwise than h5py packs"):
        load_tensors(path)


def test_numbers_of_an_odd_layout_are_refused(path: Path):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {}})
        odd = h5py.h5t.IEEE_F32LE.copy()
        odd.set_ebias(100)
        space = h5py.h5s.create_simple((4,))
        made = h5py.h5d.create(file["conv"].id, b"k", odd, space)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ones(4, np.float32))
    with pytest.raises(WeightsError, match="it is not stored as float"):
        load_tensors(path)


def test_a_dataset_of_nothing_is_refused(path: Path):
    with h5py.File(path, "w") as file:
        write_layers(file, {"conv": {"k": KERNEL}})
        del file["conv/k"]
        file["conv/k"] = h5py.Empty("f4")
    with pytest.raises(WeightsError, match="/conv/k: it has no values"):
        load_tensors(path)
