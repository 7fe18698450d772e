import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tl_pipeline.files import read_jsonl, write_atomically, write_jsonl


def test_a_write_replaces_the_whole_content_and_leaves_nothing_else(tmp_path: Path):
    path = tmp_path / "f"
    write_atomically(path, b"old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_step_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    owner = os if call == "fsync" else Path
    monkeypatch.setattr(owner, call, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_file_system_that_takes_no_more_gives_one_clean_error(tmp_path: Path):
    program = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tl_pipeline.files import write_atomically\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(Path(sys.argv[1]), b'x' * 5000)\n"
        "except OSError as error: print(error.errno)\n"
    )
    path = tmp_path / "f"
    path.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "27\n")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]
    assert signal.SIGXFSZ and resource.RLIMIT_FSIZE  # the platform has both


def test_lines_of_json_make_the_trip(tmp_path: Path):
    rows = [{"id": "ä/b", "n": 1}, {"id": 'q"\n', "n": None}]
    write_jsonl(tmp_path / "f.jsonl", rows)
    assert read_jsonl(tmp_path / "f.jsonl") == rows
    assert read_jsonl(tmp_path / "none.jsonl") == []
