"""The benchmark of a million rows, at a size that every run can afford."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "million_rows.py"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measured on Linux")
@pytest.mark.parametrize(
    ("rows", "width", "limit"),
    [
        (20_000, 64, 1024),
        pytest.param(1_000_000, 2048, 1536, marks=pytest.mark.slow),
    ],
)
def test_every_row_is_read_back_within_the_memory_given(tmp_path, rows, width, limit):
    found = importlib.util.spec_from_file_location("million_rows", BENCHMARK)
    assert found and found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    # Each part checks every row, and that a second plan is empty; it exits otherwise.
    figures = module.run(tmp_path, rows, width, limit)
    assert list(tmp_path.iterdir()) == []
    assert figures["limited: store, MiB"] > 2 * rows * width / 2**20
    if 2 * rows * width > 2**30:  # below it the interpreter itself is most of memory
        assert figures["writing: drift, %"] < 5
        assert figures["reading: drift, %"] < 5
        assert figures["limited: store, MiB"] > 2 * limit
