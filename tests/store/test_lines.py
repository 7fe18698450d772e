import pytest

from tl_pipeline.errors import StoreDamagedError
from tl_pipeline.store.lines import read_lines, write_lines

ROWS = [{"id": "é.png", "n": 1}, {"id": "a\nb", "n": 2.5}]


def test_rows_come_back_and_no_rows_need_no_file(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert read_lines(path) == []
    write_lines(path, [])
    assert not path.exists()
    write_lines(path, ROWS)
    assert read_lines(path) == ROWS


def test_an_equal_file_is_left_alone(tmp_path):
    path = tmp_path / "lines.jsonl"
    write_lines(path, ROWS)
    before = path.stat().st_ino
    write_lines(path, ROWS)
    assert path.stat().st_ino == before


def test_every_flipped_bit_is_found_with_its_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    write_lines(path, ROWS)
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(StoreDamagedError, match=r"damaged in line [12]\b"):
            read_lines(path)


def test_every_truncation_but_a_whole_line_is_found(tmp_path):
    path = tmp_path / "lines.jsonl"
    write_lines(path, ROWS)
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for length in set(range(1, len(data))) - {first}:
        path.write_bytes(data[:length])
        with pytest.raises(StoreDamagedError, match="damaged in line"):
            read_lines(path)
