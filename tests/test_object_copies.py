"""Copies of objects: checked, shared, bounded, and never missed."""

import os

import pytest

from tl_pipeline.digest import bytes_digest
from tl_pipeline.errors import RequestError
from tl_pipeline.files import cache_folder
from tl_pipeline.object_copies import (
    WrongBytesError,
    fetch_copy,
    fetch_version,
    find_copy,
    keep_copy,
)
from tl_pipeline.object_paths import ObjectPath

SIZE = 1000


@pytest.fixture
def reads(monkeypatch) -> list[ObjectPath]:
    """The objects that were read, in order."""
    done = []
    get = ObjectPath._get

    def counted(path, **asked):
        done.append(path)
        return get(path, **asked)

    monkeypatch.setattr(ObjectPath, "_get", counted)
    return done


def put(bucket: ObjectPath, number: int) -> tuple[ObjectPath, dict]:
    data = bytes([number]) * SIZE
    (bucket / str(number)).write_bytes(data)
    return bucket / str(number), {"sha256": bytes_digest(data), "size": SIZE}


def list_copies() -> dict[str, int]:
    folder = cache_folder("objects")
    files = folder.iterdir() if folder.exists() else ()
    return {f.name: f.stat().st_size for f in files if f.suffix != ".used"}


def test_an_object_is_fetched_once_and_shared_by_its_digest(bucket, reads):
    path, known = put(bucket, 1)
    copy = fetch_copy(path, **known)
    assert copy.read_bytes() == b"\1" * SIZE and copy.name == known["sha256"]
    assert fetch_copy(bucket / "another name", **known) == copy
    assert reads == [path]


def test_a_part_of_an_object_is_a_copy_of_its_own(bucket, reads):
    path, _ = put(bucket, 1)
    part = {"sha256": bytes_digest(b"\1" * 10), "size": 10}
    assert fetch_copy(path, **part, start=5).read_bytes() == b"\1" * 10
    with pytest.raises(WrongBytesError, match="it has 5 bytes instead of 10"):
        fetch_copy(path, sha256="0" * 64, size=10, start=SIZE - 5)


def test_an_object_of_other_bytes_is_told_and_not_kept(bucket):
    path, known = put(bucket, 1)
    path.write_bytes(b"\2" * SIZE)
    with pytest.raises(WrongBytesError, match="SHA-256"):
        fetch_copy(path, **known)
    path.write_bytes(b"\1" * (SIZE - 1))
    with pytest.raises(WrongBytesError, match="it has 999 bytes instead of 1,000"):
        fetch_copy(path, **known)
    assert list_copies() == {}


def test_copies_stay_within_their_limit_and_the_longest_unused_goes_first(
    bucket, reads, monkeypatch
):
    monkeypatch.setenv("TL_PIPELINE_CACHE_GB", str(4.5 * SIZE / 1e9))
    objects = [put(bucket, i) for i in range(6)]
    now = 1_000_000_000
    for age, (path, known) in enumerate(objects[:4]):
        copy = fetch_copy(path, **known)
        os.utime(copy.with_name(copy.name + ".used"), (now + age, now + age))
    reads.clear()
    first, known = objects[0]
    used = fetch_copy(first, **known)
    os.utime(used.with_name(used.name + ".used"))
    path, new = objects[4]
    fetch_copy(path, **new)
    assert reads == [path] and sum(list_copies().values()) <= 4.5 * SIZE
    assert set(list_copies()) >= {known["sha256"], new["sha256"]}
    assert not find_copy(objects[1][1]["sha256"], SIZE)


def test_a_limit_of_nothing_leaves_the_copy_in_use(bucket, monkeypatch):
    monkeypatch.setenv("TL_PIPELINE_CACHE_GB", "0")
    for path, known in [put(bucket, i) for i in range(3)]:
        assert fetch_copy(path, **known).exists()
        assert list(list_copies()) == [known["sha256"]]


def test_a_limit_that_is_no_number_is_a_wrong_request(bucket, monkeypatch):
    path, known = put(bucket, 1)
    for said in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("TL_PIPELINE_CACHE_GB", said)
        with pytest.raises(RequestError, match="a number of gigabytes"):
            fetch_copy(path, **known)


def test_what_a_killed_process_left_half_written_goes_after_an_hour(bucket):
    path, known = put(bucket, 1)
    folder = cache_folder("objects")
    folder.mkdir(parents=True)
    for name, age in ((".tmp-old", 4000), (".tmp-new", 0)):
        (folder / name).write_bytes(b"half")
        made = (folder / name).stat().st_mtime - age
        os.utime(folder / name, (made, made))
    fetch_copy(path, **known)
    assert set(list_copies()) == {known["sha256"], ".tmp-new"}


def test_what_was_just_put_is_kept_where_the_disk_will_have_it(bucket, monkeypatch):
    keep_copy("a" * 64, b"rows")
    assert find_copy("a" * 64, 4)
    blocked = cache_folder("objects").parent.with_name("a file")
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    keep_copy("b" * 64, b"rows")  # and nobody minds
    assert not find_copy("b" * 64, 4)


def test_a_version_is_fetched_again_when_the_object_changes(bucket, reads):
    path = bucket / "t.csv"
    path.write_bytes(b"1")
    was = path.look()
    assert fetch_version(was, suffix=".csv").read_bytes() == b"1"
    fetch_version(was, suffix=".csv")
    assert reads == [path]
    path.write_bytes(b"2")
    assert fetch_version(path.look(), suffix=".csv").read_bytes() == b"2"
    path.write_bytes(b"3")
    with pytest.raises(OSError, match="changed while it was read"):
        fetch_version(was._replace(etag="gone"), suffix=".csv")
