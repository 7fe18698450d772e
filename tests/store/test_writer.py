import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tl_pipeline.errors import StoreError
from tl_pipeline.store.verify import verify_store

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


@pytest.mark.parametrize("name", ["fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_failing_call_is_one_sentence_and_the_rerun_completes(
    toy, tmp_path, monkeypatch, name, code
):
    content = toy.make_content(10)
    wanted = toy.read_files(toy.extract(tmp_path / "a", content).path)
    call = getattr(os, name)
    k = failures = 0
    while True:
        count = 0

        def fail_at_k(*args, k=k, **kwargs):
            nonlocal count
            # Opening to write, and folders to sync them: not what h5py or Python read.
            mine = name != "open" or Path(args[0]).suffix in ("", ".lock")
            count += mine
            if mine and count == k + 1:
                raise OSError(code, os.strerror(code))
            return call(*args, **kwargs)

        root = tmp_path / f"b{k}"
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail_at_k)
            try:
                toy.extract(root, content)
            except StoreError as error:
                assert os.strerror(code) in str(error)
                assert "cannot be" in str(error)
                failures += 1
        stores = list(root.glob("*/store.json"))
        assert all(verify_store(file.parent)["intact"] for file in stores)
        assert toy.read_files(toy.extract(root, content).path) == wanted
        if count <= k:
            break
        k += 1
    assert failures > 3
