"""Addresses of objects: what a server promises of them, and what it says when not."""

import threading
from pathlib import Path

import pytest

from tl_pipeline import object_driver
from tl_pipeline.errors import (
    BucketError,
    RequestError,
    ServerError,
    StoreConflictError,
)
from tl_pipeline.object_paths import ObjectPath, parse_address
from tl_pipeline.places import find_place, require_local


def test_an_address_is_taken_apart_and_put_together_like_a_path():
    root = parse_address("s3://photos/2024/")
    file = root / "cats" / "a.tar.gz"
    assert (file.name, file.stem, file.suffix) == ("a.tar.gz", "a.tar", ".gz")
    assert file.parent.parent == root and file.relative_to(root) == "cats/a.tar.gz"
    assert str(parse_address("s3://photos")) == "s3://photos"
    assert str(parse_address("s3://photos") / "a.jpg") == "s3://photos/a.jpg"


@pytest.mark.parametrize(
    "text",
    ["s3://", "gs://photos/2024", "http://photos/a", Path("s3://photos"), "s3:/photos"],
)
def test_an_address_of_another_kind_is_refused(text):
    with pytest.raises(RequestError, match="known are folders on this machine and s3"):
        find_place(text)


def test_what_is_kept_on_this_machine_only_has_no_address():
    for text in ("s3://photos/runs", Path("s3://photos/runs"), parse_address("s3://p")):
        with pytest.raises(RequestError, match="runs are kept in a folder on this"):
            require_local(text, what="runs")


def test_an_object_is_put_listed_read_moved_and_removed(bucket):
    file = bucket / "a" / "b.txt"
    file.write_bytes(b"hello")
    (found,) = bucket.walk()
    assert (found.path, found.size) == (file, 5) and found == file.look()
    assert list(bucket.iterdir()) == [bucket / "a"] and (bucket / "a").is_dir()
    assert file.read_range(1, 3) == b"ell" and file.read_range(9, 3) == b""
    file.replace(bucket / "c.txt")
    assert not file.exists() and (bucket / "c.txt").read_bytes() == b"hello"
    (bucket / "c.txt").unlink()
    with pytest.raises(FileNotFoundError):
        (bucket / "c.txt").read_bytes()


def test_a_listing_goes_on_beyond_its_first_page(bucket, monkeypatch):
    names = [f"{i}" for i in range(5)]
    for name in names:
        (bucket / name).write_bytes(b"")
    call = ObjectPath._call

    def call_for_two(path, method, **asked):
        return call(path, method, **asked, MaxKeys=2)

    monkeypatch.setattr(ObjectPath, "_call", call_for_two)
    assert [found.path.name for found in bucket.walk()] == names


def test_a_swap_leaves_alone_what_someone_else_changed(bucket):
    file = bucket / "store.json"
    file.swap_bytes(None, b"1")
    with pytest.raises(StoreConflictError):
        file.swap_bytes(None, b"other")
    assert file.read_version() == b"1"
    file.write_bytes(b"2")  # by someone else, after it was read
    with pytest.raises(StoreConflictError):
        file.swap_bytes(b"1", b"3")
    assert file.read_bytes() == b"2"
    file.swap_bytes(b"2", b"3")  # known by its bytes, whoever put them
    assert file.read_bytes() == b"3"


def test_a_swap_whose_answer_was_lost_is_not_taken_for_another_ones(bucket):
    file = bucket / "store.json"
    file.swap_bytes(None, b"1")
    file.write_bytes(b"2")  # what a retried request finds of its first try
    file.swap_bytes(b"1", b"2")
    assert file.read_bytes() == b"2"


def test_swaps_of_many_writers_lose_none(bucket):
    file = bucket / "list"
    file.swap_bytes(None, b"")

    def add(writer: int) -> None:
        done = 0
        while done < 10:
            was = file.read_bytes()
            try:
                file.swap_bytes(was, was + b"%d:%d " % (writer, done))
            except StoreConflictError:
                continue
            done += 1

    threads = [threading.Thread(target=add, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = {f"{writer}:{i}" for writer in range(4) for i in range(10)}
    assert sorted(file.read_bytes().decode().split()) == sorted(wanted)


def test_a_server_that_hears_no_conditions_is_found_out(bucket, make_bucket):
    for root, refuses in ((bucket, False), (make_bucket("deaf"), True)):
        file = root / "store.json"
        file.write_bytes(b"1")
        assert file.refuses_conditions() is refuses
        assert file.read_bytes() == b"1"


def test_a_bucket_that_is_not_there_is_a_wrong_request(s3_environment):
    missing = ObjectPath("no-such-bucket", "a")
    for ask in (missing.read_bytes, lambda: missing.write_bytes(b""), missing.is_dir):
        with pytest.raises(BucketError, match="there is no such bucket") as caught:
            ask()
        assert caught.value.exit_code == 2


@pytest.fixture
def fresh_driver(s3_environment):
    """Has the driver read its environment anew, in this test and after it."""
    import s3fs

    def forget():
        object_driver.open_driver.cache_clear()
        s3fs.S3FileSystem.clear_instance_cache()

    forget()
    yield
    forget()


def test_a_server_that_is_down_may_come_back(fresh_driver, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ServerError, match="cannot be reached, or fails") as caught:
        ObjectPath("photos", "a").read_bytes()
    assert isinstance(caught.value, OSError) and caught.value.exit_code == 1


def test_missing_credentials_are_named_and_none_is_ever_shown(
    fresh_driver, monkeypatch
):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BucketError, match="no credentials were found"):
        ObjectPath("photos", "a").read_bytes()


def test_a_driver_that_is_not_installed_is_named_with_its_extra(
    fresh_driver, monkeypatch
):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(RequestError, match=r"pip install 'tl-pipeline\[s3\]'"):
        ObjectPath("photos", "a").read_bytes()
