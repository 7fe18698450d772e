import os
import signal
import subprocess
import sys
import threading

import filelock
import pytest

from tl_pipeline.errors import NotFoundError, StoreError, StoreLockedError
from tl_pipeline.store import lock
from tl_pipeline.store.lock import hold_lock

HOLDER = """
import sys, time
from pathlib import Path
from tl_pipeline.store.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path` until it gets a line or dies."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    with process:
        yield process
        process.kill()


def test_who_does_not_wait_is_told_who_holds_it(tmp_path, holder):
    with pytest.raises(StoreLockedError, match=f"process {holder.pid} on .* since 20"):
        with hold_lock(tmp_path, wait=False):
            pass


def test_who_waits_is_told_the_same_words_once_and_then_holds_it(tmp_path, holder):
    with pytest.raises(StoreLockedError) as refused:
        with hold_lock(tmp_path, wait=False):
            pass
    said = []

    def on_wait(sentence):
        said.append(sentence)
        assert holder.stdin
        holder.stdin.write("\n")
        holder.stdin.flush()

    with hold_lock(tmp_path, on_wait=on_wait):
        assert said == [str(refused.value)]


def test_it_is_free_the_moment_its_holder_is_killed(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock-holder.json").exists()
    with hold_lock(tmp_path, wait=False):
        pass
    assert not (tmp_path / ".lock-holder.json").exists()


def test_a_note_that_is_no_note_does_not_matter(tmp_path, holder):
    for text in ("", "[]", "{}", "[" * 10**5):
        (tmp_path / ".lock-holder.json").write_text(text)
        with pytest.raises(StoreLockedError, match="by another process; one can"):
            with hold_lock(tmp_path, wait=False):
                pass


def test_two_threads_of_a_process_do_not_both_hold_it(tmp_path):
    inside = []

    def work():
        with hold_lock(tmp_path, on_wait=lambda sentence: None):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_folder_that_is_not_there_and_a_file_system_without_flock_say_so(
    tmp_path, monkeypatch
):
    with pytest.raises(NotFoundError, match="none: no such folder"):
        with hold_lock(tmp_path / "none"):
            pass

    def without_flock(descriptor):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(filelock._unix, "lock_fd_nonblocking", without_flock)
    with pytest.raises(StoreError, match="Function not implemented.*with flock"):
        with hold_lock(tmp_path):
            pass


def test_another_platform_is_told_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(lock.sys, "platform", "win32")
    with pytest.raises(StoreError, match="this is win32: run on Linux or macOS"):
        with hold_lock(tmp_path):
            pass
