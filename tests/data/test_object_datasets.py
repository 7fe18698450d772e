"""Datasets in a bucket: listed as a folder is, each object read once, or not at all."""

import pickle
from pathlib import Path

import pytest

from tl_pipeline.data.contents import digest_items
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.data.object_reader import ObjectReader
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.stat_cache import StatCache
from tl_pipeline.errors import BucketError, DatasetError, ServerError
from tl_pipeline.object_paths import ObjectPath

FOLDERS = {
    "classes": ["cats/a.jpg", "cats/deep/b.jpg", "dogs/c.jpg"],
    "splits": ["train/cats/a.jpg", "train/dogs/b.jpg", "val/cats/c.jpg"],
    "files": ["a.jpg", "b.jpg"],
    "noted": ["cats/a.jpg", "cats/.hidden", ".git/x/y", ".git/z", "stray.txt"],
    "odd": ["cafe\u0301/a.jpg", "tea/b.jpg"],
}


def fill(root: ObjectPath | Path, names: list[str]) -> None:
    for name in names:
        file = root / name
        if isinstance(file, Path):
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The keys of the objects that were read, in order."""
    done: list[str] = []
    get = ObjectPath._get

    def counted(path, **asked):
        done.append(path.key)
        return get(path, **asked)

    monkeypatch.setattr(ObjectPath, "_get", counted)
    return done


def digest(dataset: Dataset, tmp_path: Path, monkeypatch, *, later: int = 3600):
    """Digests a dataset as at some later time, when its objects are no longer new."""
    import time

    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + later * 10**9)
    try:
        with StatCache(tmp_path / "cache.sqlite") as cache:
            return digest_items(dataset, cache)
    finally:
        monkeypatch.setattr(time, "time_ns", now)


@pytest.mark.parametrize("layout", FOLDERS)
def test_a_bucket_is_listed_as_the_same_folder_is(bucket, tmp_path, layout):
    for root in (bucket / "photos", tmp_path / "photos"):
        fill(root, FOLDERS[layout])
    remote = load_dataset(str(bucket / "photos"))
    local = load_dataset(tmp_path / "photos")
    assert (remote.name, remote.notes) == (local.name, local.notes)
    assert remote.carve_val == local.carve_val
    kept = [(i.id, i.target, i.split) for i in remote.items]
    assert kept == [(i.id, i.target, i.split) for i in local.items] and kept
    for mine, theirs in zip(remote.items, local.items, strict=True):
        assert remote.read(mine) == local.read(theirs)


def test_an_empty_folder_made_by_a_key_with_a_slash_is_an_empty_class(bucket):
    fill(bucket / "photos", FOLDERS["classes"])
    ObjectPath(bucket.bucket, "photos/birds/")._call("put_object", Body=b"")
    with pytest.raises(DatasetError, match="class folder birds holds no files"):
        load_dataset(str(bucket / "photos"))
    assert len(load_dataset(str(bucket / "photos"), exclude=["birds/*"])) == 3


def test_what_is_left_out_of_a_folder_is_left_out_of_a_bucket(bucket):
    fill(bucket, FOLDERS["classes"])
    assert len(load_dataset(str(bucket), exclude=["cats/deep/*"])) == 2


def test_an_unchanged_object_is_not_read_again(bucket, tmp_path, monkeypatch, reads):
    fill(bucket / "photos", FOLDERS["classes"])
    first = digest(load_dataset(str(bucket / "photos")), tmp_path, monkeypatch)
    assert first.hashed == 3 and len(reads) == 3
    reads.clear()
    again = digest(load_dataset(str(bucket / "photos")), tmp_path, monkeypatch)
    assert again.hashed == 0 and reads == []
    assert again.content.tobytes() == first.content.tobytes()
    (bucket / "photos" / "cats" / "a.jpg").write_bytes(b"CATS/A.JPG")  # as many bytes
    changed = digest(load_dataset(str(bucket / "photos")), tmp_path, monkeypatch)
    assert changed.hashed == 1 and reads == ["photos/cats/a.jpg"]
    assert changed.content.tobytes() != first.content.tobytes()


def test_an_object_that_was_just_put_is_not_trusted_yet(bucket, tmp_path, monkeypatch):
    fill(bucket / "photos", ["cats/a.jpg", "dogs/b.jpg"])
    for _ in range(2):
        dataset = load_dataset(str(bucket / "photos"))
        now = max(stamp.mtime_ns for stamp in dataset.stamps.values())
        monkeypatch.setattr("time.time_ns", lambda now=now: now + 10**9)
        with StatCache(tmp_path / "cache.sqlite") as cache:
            assert digest_items(dataset, cache).hashed == 2


def test_what_was_read_for_its_digest_is_not_read_again_to_be_decoded(bucket, reads):
    fill(bucket / "photos", FOLDERS["classes"])
    dataset = load_dataset(str(bucket / "photos"))
    contents = digest_items(dataset, None)
    assert [dataset.read(item) for item in contents.items] == [
        f"{item.id}".encode() for item in contents.items
    ]
    assert len(reads) == len(set(reads)) == 3


def test_a_reader_without_room_reads_again(bucket, reads, monkeypatch):
    monkeypatch.setenv("TL_PIPELINE_CACHE_GB", "0")
    fill(bucket / "photos", FOLDERS["files"])
    dataset = load_dataset(str(bucket / "photos"))
    for _ in range(2):
        assert dataset.read(dataset.items[0]) == b"a.jpg"
    assert len(reads) == 2


def test_a_reader_is_sent_to_another_process_without_what_it_kept(bucket, reads):
    fill(bucket / "photos", FOLDERS["files"])
    dataset = load_dataset(str(bucket / "photos"))
    dataset.read(dataset.items[0])
    sent = pickle.loads(pickle.dumps(dataset.reader))
    assert isinstance(sent, ObjectReader)
    assert sent(dataset.items[0]) == b"a.jpg" and len(reads) == 2


def test_an_object_that_is_gone_is_a_failure_of_its_own(bucket):
    fill(bucket / "photos", FOLDERS["classes"])
    dataset = load_dataset(str(bucket / "photos"))
    (bucket / "photos" / "dogs" / "c.jpg").unlink()
    contents = digest_items(dataset, None)
    assert len(contents.items) == 2
    ((id_, reason),) = contents.unreadable
    assert id_ == "dogs/c.jpg" and reason.startswith("cannot be read: No such file")


def test_a_server_that_fails_ends_the_work_and_blames_no_example(bucket, monkeypatch):
    fill(bucket / "photos", FOLDERS["classes"])
    dataset = load_dataset(str(bucket / "photos"))

    def fail(*_, **__):
        raise ServerError("its server cannot be reached")

    monkeypatch.setattr(ObjectPath, "_get", fail)
    with pytest.raises(ServerError):
        digest_items(dataset, None)


@pytest.fixture
def tables(bucket, tmp_path):
    """Writes a table of the same three files to a bucket and a folder."""

    def write(text: str, name: str = "t.csv") -> tuple[str, Path]:
        for root in (bucket / "data", tmp_path / "data"):
            fill(root, FOLDERS["classes"])
            (root / name).write_bytes(text.encode())
        return str(bucket / "data" / name), tmp_path / "data" / name

    return write


ROWS = (
    "cats/a.jpg,cat,train\ncats/deep/../deep/b.jpg,cat,test\n./dogs/c.jpg,dog,train\n"
)


def test_a_table_in_a_bucket_names_objects_beside_it(tables, tmp_path, monkeypatch):
    url, local = tables("path,target,split\n" + ROWS)
    remote, there = load_dataset(url), load_dataset(local)
    assert (remote.name, remote.notes) == (there.name, there.notes)
    for mine, theirs in zip(remote.items, there.items, strict=True):
        assert (mine.id, mine.target, mine.split) == (
            *(theirs.id, theirs.target, theirs.split),
        )
        assert remote.read(mine) == there.read(theirs)
    assert digest(remote, tmp_path, monkeypatch).hashed == 3
    assert digest(load_dataset(url), tmp_path, monkeypatch).hashed == 0


def test_a_table_may_name_objects_anywhere_in_buckets(tables, make_bucket):
    other = make_bucket()
    fill(other, ["x/d.jpg"])
    url, _ = tables(f"path,target\ncats/a.jpg,cat\n{other}/x/d.jpg,dog\n")
    dataset = load_dataset(url)
    assert {dataset.read(item) for item in dataset.items} == {b"cats/a.jpg", b"x/d.jpg"}


def test_a_table_that_names_no_object_is_refused_with_its_rows(tables):
    url, _ = tables(
        "path,target\ncats/a.jpg,cat\nno.jpg,cat\n/etc/x,dog\n../../x,dog\n"
    )
    with pytest.raises(DatasetError, match="3 rows whose object is not in the bucket"):
        load_dataset(url)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_table_of_texts_is_read_from_a_bucket(
    tables, tmp_path, monkeypatch, reads, suffix
):
    rows = {
        "csv": "text,target\ngood,1\nbad,0\n",
        "jsonl": '{"text": "good", "target": 1}\n{"text": "bad", "target": 0}\n',
    }
    url, local = tables(rows[suffix], f"t.{suffix}")
    remote, there = load_dataset(url), load_dataset(local)
    assert [remote.read(i) for i in remote.items] == [b"good", b"bad"]
    assert [i.id for i in remote.items] == [i.id for i in there.items]
    assert digest(remote, tmp_path, monkeypatch).hashed == 2
    again = load_dataset(url)
    assert digest(again, tmp_path, monkeypatch).hashed == 0
    assert reads == [f"data/t.{suffix}"]
    sent = pickle.loads(pickle.dumps(again.reader))
    assert sent(again.items[1]) == b"bad"


def test_what_is_no_dataset_is_refused_in_one_sentence(bucket, s3_environment):
    fill(bucket, ["photos/a.npz", "photos/b.zip"])
    for key in ("a.npz", "b.zip"):
        with pytest.raises(DatasetError, match="it is one object. Name what"):
            load_dataset(str(bucket / "photos" / key))
    with pytest.raises(DatasetError, match="nothing lies there"):
        load_dataset(str(bucket / "nothing"))
    with pytest.raises(BucketError, match="there is no such bucket"):
        load_dataset("s3://no-such-bucket/photos")
