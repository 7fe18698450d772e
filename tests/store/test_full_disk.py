"""A file system that is really full: a tmpfs of a few kilobytes.

Mounted in a mount namespace of its own, by root or within a user namespace, so that
nothing of it is left when the process ends.
"""

import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import toy
from tl_pipeline.errors import StoreError
from tl_pipeline.store.verify import verify_store

root, spare, content = Path(sys.argv[2]), int(sys.argv[3]), toy.make_content(40)
wanted = toy.read_files(toy.extract(Path(sys.argv[4]), content).path)
free = os.statvfs(root)
ballast = root / "ballast"
with ballast.open("wb") as file:
    file.write(bytes(free.f_bavail * free.f_bsize - spare))
pid = os.fork()
if pid == 0:
    try:
        toy.extract(root / "stores", content)
    except StoreError as error:
        print(error, flush=True)
        os._exit(1)
    os._exit(0)
_, status = os.waitpid(pid, 0)
print("exit", os.waitstatus_to_exitcode(status), flush=True)
for manifest in root.glob("stores/*/store.json"):
    assert verify_store(manifest.parent)["intact"]
ballast.unlink()
again = toy.extract(root / "stores", content)
print("equal", toy.read_files(again.path) == wanted)
"""
MOUNT = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'


def find_namespace(folder: Path) -> list[str]:
    """Returns the command that starts another one in a small file system."""
    for options in (["-Urm"], ["-m"]):
        command = ["unshare", *options, "sh", "-c", MOUNT, "sh", str(folder)]
        try:
            done = subprocess.run([*command, "true"], capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("`unshare` is not installed")
        if done.returncode == 0:
            return command
    pytest.skip("neither a user namespace nor root may mount a tmpfs here")


@pytest.mark.parametrize("spare", [0, 4, 8, 24, 64, 128])
def test_a_full_file_system_is_one_sentence_and_the_rerun_completes(
    toy, tmp_path: Path, spare: int
):
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(
        [
            *(*find_namespace(folder), sys.executable, "-c", WRITE),
            *(str(Path(toy.__file__).parent), str(folder)),
            *(str(spare * 1024), str(tmp_path / "whole")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *sentences, code, equal = done.stdout.splitlines()
    assert (code, equal) == ("exit 1", "equal True")
    (sentence,) = sentences
    assert "No space left on device" in sentence
    assert "run the same command again" in sentence or "Writing needs" in sentence
