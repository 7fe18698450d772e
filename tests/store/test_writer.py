import resource
import subprocess
import sys
from pathlib import Path

import pytest

# A limit on the size of files stands in for a full disk: h5py would segfault on one.
FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toy
from tl_pipeline.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), -1))
try:
    toy.extract(Path(sys.argv[2]), toy.make_content(40))
except StoreError as error:
    print(error)
    sys.exit(1)
"""


@pytest.mark.parametrize("limit", [100, 2000, 6000, 12000])
def test_a_full_disk_is_one_sentence_and_the_rerun_completes(toy, tmp_path, limit):
    wanted = toy.read_files(toy.extract(tmp_path / "a", toy.make_content(40)).path)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] < 0  # only the child's is set
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FULL,
            str(Path(toy.__file__).parent),
            tmp_path / "b",
            str(limit),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be written (File too large). All that was committed" in done.stdout
    assert toy.read_files(toy.extract(tmp_path / "b", toy.make_content(40)).path) == (
        wanted
    )
