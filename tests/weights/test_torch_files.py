import pickle
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import WeightsError
from tl_pipeline.weights.reading import load_tensors
from tl_pipeline.weights.torch_legacy import MAGIC

GOLDEN = Path(__file__).parents[1] / "golden" / "torch"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.pth"


@pytest.mark.parametrize("kind", ["state", "kinds"])
@pytest.mark.parametrize("format", ["", "-legacy"])
def test_every_tensor_is_the_one_that_pytorch_wrote(kind, format):
    tensors = load_tensors(GOLDEN / f"{kind}{format}.pth")
    assert tensors.format == "torch"
    with np.load(GOLDEN / f"{kind}.npz") as expected:
        assert set(expected) - set(tensors.arrays) == (
            {"uint16"} if (kind, format) == ("kinds", "-legacy") else set()
        )
        for name, array in tensors.arrays.items():
            assert array.dtype == expected[name].dtype
            assert array.flags.c_contiguous and array.flags.aligned
            np.testing.assert_array_equal(array, expected[name], strict=True)


def test_a_training_gives_its_tensors_by_the_way_to_them():
    arrays = load_tensors(GOLDEN / "lightning.ckpt").arrays
    with np.load(GOLDEN / "trained.npz") as expected:
        for name in expected:
            np.testing.assert_array_equal(
                arrays[f"state_dict.model.{name}"], expected[name]
            )
        assert len(arrays) == len(expected) + 1  # the callback's, no optimizer's


@pytest.mark.parametrize("name", ["evil.pth", "evil-legacy.pth"])
def test_a_file_that_would_run_a_command_is_refused_by_its_name(name, capfd):
    with pytest.raises(WeightsError, match=r"would call posix.system, .*was run"):
        load_tensors(GOLDEN / name)
    assert capfd.readouterr().out == ""


def test_a_whole_module_is_refused_by_its_class():
    with pytest.raises(WeightsError, match=r"torch.nn.modules.container.Sequential"):
        load_tensors(GOLDEN / "module.pth")


STORAGE = (
    b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ"
)
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def write_zip(
    path: Path, program: bytes, *, storage: bytes = bytes(24), **members: bytes
) -> None:
    """Writes what torch.save does, with a pickle of one's own and six float32."""
    named = {"data.pkl": program, "data/0": storage, "version": b"3\n", **members}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in named.items():
            file.writestr(f"w/{name}", data)


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """Returns the program of {"a": a view of the storage}."""
    numbers = [pickle.dumps(x, 2)[2:-1] for x in (offset, shape, strides)]
    view = REBUILD + b"(" + STORAGE + b"".join(numbers) + b"\x89NtR"
    return b"\x80\x02}X\x01\0\0\0a" + view + b"s."


def test_the_doctored_file_is_read_before_it_is_doctored(path):
    write_zip(
        path, tensor(1, (2, 2), (3, 1)), storage=np.arange(6, dtype="f4").tobytes()
    )
    np.testing.assert_array_equal(load_tensors(path).arrays["a"], [[1, 2], [4, 5]])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (1, (6,), (1,)),
        (7, (), ()),
        (0, (2, 3), (4, 1)),
        (0, (2**40,), (0,)),
        (0, (2**31, 2**31, 2**31), (0, 0, 0)),
        (2**61, (1,), (1,)),
        (0, (0, 2**61), (1, 1)),
    ],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    path, offset, shape, strides
):
    write_zip(path, tensor(offset, shape, strides))
    with pytest.raises(WeightsError, match="reaches beyond its storage 0 of 6 items"):
        load_tensors(path)


@pytest.mark.parametrize("numbers", [(-1, (1,), (1,)), (0, (-2,), (1,))])
def test_a_negative_size_is_refused(path, numbers):
    write_zip(path, tensor(*numbers))
    with pytest.raises(WeightsError, match="a size that is none"):
        load_tensors(path)


def test_a_negative_stride_is_refused(path):
    write_zip(path, tensor(5, (6,), (-1,)))
    with pytest.raises(WeightsError, match="a size that is none"):
        load_tensors(path)


def test_a_storage_of_another_size_than_declared_is_refused(path):
    for n_bytes in (20, 28, 0):
        write_zip(path, tensor(0, (1,), (1,)), storage=bytes(n_bytes))
        with pytest.raises(WeightsError, match=f"0 has {n_bytes} bytes where .* 6 it"):
            load_tensors(path)


PROGRAMS = {
    b"cos\nsystem\n(X\x02\0\0\0lstR.": "would call os.system",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93)R.": "would call os.system",
    b"cbuiltins\neval\n(X\x01\0\0\x001tR.": "would call builtins.eval",
    b"(S'ls'\nios\nsystem\n.": "the instruction STRING",
    b"(ios\nsystem\n.": "the instruction INST",
    b"(cos\nsystem\no.": "the instruction OBJ",
    b"\x82\x01.": "the instruction EXT1",
    b"Pid\n.": "the instruction PERSID",
    b"cos\nsystem\n}b.": "it changes os.system",
    b"ctorch._utils\n_rebuild_tensor_v2\n)R.": "with what does not fit",
    b"}(K\x01tR.": "calls something that has no name",
    b"(X\x01\0\0\0aX\x01\0\0\0btQ.": "refers to something that is no storage",
    b"}((K\x01K\x02t(K\x03tt)s.": "a key of another kind",
    b"}X\x01\0\0\0a": "damaged",
    b"h\x05.": "damaged",
    b"B\xff\xff\xff\xffabc.": "damaged",
    b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.": "damaged",
    b"((((.": "damaged",
    b"a.": "damaged",
    b"\xff": "damaged",
    b"].": "no dict of tensors",
    b"}.": "no tensors by name",
    b"\x80\x02}" + b"r\xff\xff\xff\x7f" + b".": "no tensors by name",
    b"]" * 200_000 + b"a" * 199_999 + b".": "no dict of tensors",
}


@pytest.mark.parametrize(("program", "found"), PROGRAMS.items(), ids=range(24))
def test_a_program_that_does_more_than_hold_weights_is_refused(path, program, found):
    write_zip(path, program)
    with pytest.raises(WeightsError, match=f"w.pth are refused: .*{found}"):
        load_tensors(path)


def test_a_dict_that_holds_another_many_times_over_is_read_once(path):
    # Thirty levels, each twice in the next: 2 ** 30 ways to the tensor.
    program = tensor(0, (6,), (1,))[:-1] + b"q\0" + b"0"
    for i in range(30):
        below = b"h" + bytes([i])
        entries = b"X\1\0\0\0a" + below + b"s" + b"X\1\0\0\0b" + below + b"s"
        program += b"}" + entries + b"q" + bytes([i + 1]) + b"0"
    write_zip(path, program + b"h" + bytes([30]) + b".")
    assert [len(name) for name in load_tensors(path).arrays] == [61]


def test_a_packed_member_is_refused(path):
    write_zip(path, tensor(0, (1,), (1,)))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w/data/1", bytes(10**6))
    with pytest.raises(WeightsError, match="w/data/1 is packed"):
        load_tensors(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(path):
    write_zip(path, tensor(0, (1,), (1,)))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("w/data/0", bytes(24))
    with pytest.raises(WeightsError, match="w/data/0 is there twice"):
        load_tensors(path)


def test_members_that_share_their_bytes_are_refused(path):
    write_zip(path, tensor(0, (1,), (1,)), **{"data/1": bytes(24)})
    data = bytearray(path.read_bytes())
    entries = [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]
    first, second = (
        next(e for e in entries if data[e + 46 :].startswith(name))
        for name in (b"w/data/0", b"w/data/1")
    )
    place = data[first + 42 : first + 46]
    data[second + 42 : second + 46] = place
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="w/data/1 is called otherwise in front"):
        load_tensors(path)
    data[second + 46 : second + 54] = b"w/data/0"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="w/data/0 is there twice"):
        load_tensors(path)


def test_members_that_overlap_are_refused(path):
    inner = b"PK\3\4" + bytes(22) + struct.pack("<HH", 8, 0) + b"w/data/0" + bytes(24)
    write_zip(path, tensor(0, (1,), (1,)), outer=inner)
    data = bytearray(path.read_bytes())
    entry = data.index(b"w/data/0", data.index(b"PK\1\2")) - 46
    struct.pack_into("<I", data, entry + 42, data.index(inner))
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="w/data/0 shares its bytes with another"):
        load_tensors(path)


def test_numbers_in_big_endian_order_are_refused(path):
    write_zip(path, tensor(0, (1,), (1,)), byteorder=b"big")
    with pytest.raises(WeightsError, match="not in little-endian order"):
        load_tensors(path)


def test_a_torchscript_program_is_told_from_weights(path):
    write_zip(path, tensor(0, (1,), (1,)), **{"constants.pkl": b"."})
    with pytest.raises(WeightsError, match="it is a TorchScript program"):
        load_tensors(path)


def test_a_missing_storage_is_named(path):
    write_zip(path, tensor(0, (1,), (1,)).replace(b"\1\0\0\x000", b"\1\0\0\x007"))
    with pytest.raises(WeightsError, match="its storage 7 is missing"):
        load_tensors(path)


def test_the_tar_format_is_refused_in_a_sentence(path):
    path.write_bytes(bytes(257) + b"ustar" + bytes(600))
    with pytest.raises(WeightsError, match="tar format, of before version 0.1.10"):
        load_tensors(path)


def test_a_file_of_another_kind_says_how_it_begins(path):
    path.write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(WeightsError, match=r"no file of torch.save.*b'<!DOCTYP'"):
        load_tensors(path)


@pytest.mark.parametrize("name", ["state.pth", "kinds-legacy.pth", "lightning.ckpt"])
def test_a_truncated_file_is_refused_wherever_it_ends(path, name):
    data = (GOLDEN / name).read_bytes()
    for end in range(0, len(data) - 1, 23):
        path.write_bytes(data[:end])
        with pytest.raises(WeightsError, match="w.pth are"):
            load_tensors(path)


def test_a_legacy_storage_of_another_count_is_refused(path):
    data = (GOLDEN / "state-legacy.pth").read_bytes()
    last = struct.pack("<q", 6)  # of the linear layer's kernel, [2, 3]
    at = data.rindex(last)
    for n in (5, 2**62, -1):
        path.write_bytes(data[:at] + struct.pack("<q", n) + data[at + 8 :])
        with pytest.raises(WeightsError, match="its storage"):
            load_tensors(path)


def test_a_legacy_file_of_another_byte_order_is_refused(path):
    parts = [MAGIC, 1001, {"little_endian": False}, {}, []]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(WeightsError, match="not in little-endian order"):
        load_tensors(path)


def test_a_file_that_changes_while_it_is_read_is_noticed(path):
    path.write_bytes((GOLDEN / "state.pth").read_bytes())
    tensors = load_tensors(path)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(WeightsError, match="changed while they were read"):
        tensors.arrays["0.weight"]


def test_nothing_of_pytorch_or_of_pickle_itself_is_needed():
    assert "torch" not in sys.modules
    source = Path(load_tensors.__code__.co_filename).parent
    for file in source.glob("*.py"):
        assert "import pickle\n" not in file.read_text()
