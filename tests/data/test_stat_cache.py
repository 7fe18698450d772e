import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.dataset import Dataset, Item
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.stat_cache import Digested, Key, Stamp, StatCache, stamp_file


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets ten seconds pass: files made just now are settled."""
    now = time.time_ns
    monkeypatch.setattr("time.time_ns", lambda: now() + 10_000_000_000)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for n in range(20):
        path = tmp_path / "photos" / "abc"[n % 3] / f"{n}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%04d" % n)
    return tmp_path / "photos"


def count_hashed(dataset: Dataset, path: Path) -> int:
    with StatCache(path) as cache:
        contents = digest_items(dataset, cache)
    assert contents.content.tobytes() == digest_items(dataset, None).content.tobytes()
    return contents.hashed


@pytest.mark.usefixtures("later")
def test_what_is_unchanged_is_not_read_again(photos: Path, tmp_path: Path):
    cache = tmp_path / "new" / "folder" / ".stat-cache.sqlite"
    assert count_hashed(load_dataset(photos), cache) == 20
    assert count_hashed(load_dataset(photos), cache) == 0
    renamed = load_dataset(photos, exclude=["a/*"], name="another")
    assert count_hashed(renamed, cache) == 0


def touch(path: Path) -> None:
    os.utime(path)


def edit_keeping_size_and_mtime(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"edit")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def copy_over_with_times(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"copy")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    shutil.copy2(other, path)  # cp -p
    other.unlink()


def replace_by_rename(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"move")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed.jpg"))


def rename_class(path: Path) -> None:
    path.parent.rename(path.parent.with_name("x"))


def read(path: Path) -> None:
    path.read_bytes()


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    ("change", "hashed"),
    [
        (read, 0),
        (touch, 1),
        (edit_keeping_size_and_mtime, 1),
        (copy_over_with_times, 1),
        (replace_by_rename, 1),
        (rename, 1),
        (rename_class, 7),
    ],
)
def test_every_change_is_seen_whatever_mtime_says(
    photos: Path, tmp_path: Path, change: Callable[[Path], None], hashed: int
):
    assert count_hashed(load_dataset(photos), tmp_path / "cache") == 20
    time.sleep(0.02)  # one tick of the kernel's clock for time stamps is 4 to 10 ms
    change(photos / "a" / "0.jpg")
    assert count_hashed(load_dataset(photos), tmp_path / "cache") == hashed
    assert count_hashed(load_dataset(photos), tmp_path / "cache") == 0


def test_files_younger_than_two_seconds_are_not_remembered(
    photos: Path, tmp_path: Path
):
    dataset = load_dataset(photos)
    for path in photos.rglob("*.jpg"):
        os.utime(path, (0, 0))  # an old mtime proves nothing: it can be set
    assert count_hashed(dataset, tmp_path / "cache") == 20
    assert count_hashed(dataset, tmp_path / "cache") == 20


@pytest.mark.parametrize(
    ("ctime_age", "mtime_age", "kept"),
    [
        (2.0, 2.0, True),
        (1.9, 2.0, False),
        (2.0, 1.9, False),
        (9.0, -3600.0, True),  # an mtime in the future: the ctime tells the age
        (-9.0, 9.0, False),
    ],
)
def test_age_is_of_both_time_stamps(
    tmp_path: Path, ctime_age: float, mtime_age: float, kept: bool
):
    now = time.time_ns()
    ctime, mtime = (now - int(age * 1e9) for age in (ctime_age, mtime_age))
    key = Key(b"/a", "", Stamp(1, mtime, ctime, 2))
    with StatCache(tmp_path / "cache") as cache:
        cache.remember([Digested(key, b"d" * 32, now)])
        assert cache.find([key]) == [b"d" * 32 if kept else None]


def test_members_of_one_file_are_kept_apart(tmp_path: Path):
    stamp = Stamp(1, 2, 3, -(2**63))  # the inode as SQLite takes it
    keys = [Key(b"/\xff", member, stamp) for member in ("", "row 1", "row 2")]
    with StatCache(tmp_path / "cache") as cache:
        now = time.time_ns()
        cache.remember([Digested(k, bytes([n]) * 32, now) for n, k in enumerate(keys)])
        assert cache.find(keys[::-1]) == [b"\2" * 32, b"\1" * 32, b"\0" * 32]


def test_the_built_in_digits_are_hashed_once(tmp_path: Path):
    dataset = load_dataset("builtin:digits-shifted", exclude=["[6-9]/*"])
    age = time.time_ns() - stamp_file(dataset.items[0].path).ctime_ns
    assert age > 2_000_000_000, "scikit-learn was installed this moment"
    assert count_hashed(dataset, tmp_path / "cache") == len(dataset)
    assert count_hashed(dataset, tmp_path / "cache") == 0
    plain = load_dataset("builtin:digits", exclude=["[6-9]/*"])
    assert count_hashed(plain, tmp_path / "cache") == len(plain)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"no SQLite file at all, for sure" * 100,
        lambda data: data[: len(data) // 2],
        lambda data: data[:4096] + bytes(len(data) - 4096),
    ],
)
def test_a_damaged_cache_is_replaced_and_that_is_logged(
    photos: Path, tmp_path: Path, damage: Callable, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "cache"
    count_hashed(load_dataset(photos), path)
    path.write_bytes(damage(path.read_bytes()))
    assert count_hashed(load_dataset(photos), path) == 20
    assert f"Replacing the damaged cache of digests {path}" in caplog.text
    assert count_hashed(load_dataset(photos), path) == 0


@pytest.mark.usefixtures("later")
def test_no_flipped_bit_makes_a_wrong_digest(photos: Path, tmp_path: Path):
    path = tmp_path / "cache"
    dataset = load_dataset(photos)
    count_hashed(dataset, path)
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(150):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        count_hashed(dataset, path)  # compares every digest with a fresh one


@pytest.mark.usefixtures("later")
def test_a_database_of_another_layout_is_replaced(photos: Path, tmp_path: Path):
    for statement in ("PRAGMA user_version = 99", "CREATE TABLE entries (x)"):
        path = tmp_path / "cache"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.close()
        assert count_hashed(load_dataset(photos), path) == 20
        assert count_hashed(load_dataset(photos), path) == 0


@pytest.mark.usefixtures("later")
def test_where_no_cache_can_be_kept_the_work_goes_on(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "file" / "cache", Path("/proc/no/cache")):
        caplog.clear()
        assert count_hashed(load_dataset(photos), path) == 20
        assert f"Going on without the cache of digests {path}" in caplog.text


@pytest.mark.usefixtures("later")
def test_a_cache_that_another_process_keeps_busy_is_done_without(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tl_pipeline.data.stat_cache.BUSY_SECONDS", 0.05)
    path = tmp_path / "cache"
    count_hashed(load_dataset(photos), path)
    (photos / "a" / "0.jpg").write_bytes(b"new")
    holder = sqlite3.connect(path)
    holder.execute("BEGIN EXCLUSIVE")
    assert count_hashed(load_dataset(photos), path) == 20
    holder.close()
    assert count_hashed(load_dataset(photos), path) == 1


WORKER = """
import sys, time
from pathlib import Path
from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.stat_cache import StatCache
now = time.time_ns
time.time_ns = lambda: now() + 10**10
dataset = load_dataset(sys.argv[1])
wanted = digest_items(dataset, None).content.tobytes()
for round in range(15):
    with StatCache(Path(sys.argv[2]) / str(round)) as cache:
        assert digest_items(dataset, cache).content.tobytes() == wanted
    with StatCache(Path(sys.argv[2]) / str(round)) as cache:
        assert digest_items(dataset, cache).hashed == 0
"""


def test_processes_share_a_cache(photos: Path, tmp_path: Path):
    command = [sys.executable, "-c", WORKER, str(photos), str(tmp_path / "caches")]
    processes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0 and errors == "", errors


@pytest.mark.usefixtures("later")
def test_digests_found_before_an_interruption_are_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tl_pipeline.data.contents.CHUNK", 4)
    whole = load_dataset(photos)

    def read(item: Item) -> bytes:
        if item is whole.items[-1]:
            raise KeyboardInterrupt
        return item.path.read_bytes()

    broken = Dataset("x", "x", whole.items, reader=read)
    with StatCache(tmp_path / "cache") as cache:
        with pytest.raises(KeyboardInterrupt):
            digest_items(broken, cache, workers=1)
    assert count_hashed(whole, tmp_path / "cache") == 4  # the last chunk
