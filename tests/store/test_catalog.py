import pytest

from tl_pipeline.errors import NotFoundError
from tl_pipeline.store.catalog import list_stores


def test_stores_are_told_without_opening_a_shard(toy, tmp_path):
    store = toy.extract(tmp_path, toy.make_content(20))
    (tmp_path / "no store").mkdir()
    (tmp_path / ".stat-cache.sqlite").touch()
    for shard in (store.path / "shards").iterdir():
        shard.write_bytes(bytes(shard.stat().st_size))
    (entry,) = list_stores(tmp_path)
    assert entry["path"] == str(store.path)
    assert entry["backbone"] == "toy" and entry["datasets"] == ["toy"]
    assert entry["features"]["pool"]["rows"] == entry["rows"] > 15
    assert entry["bytes"] > 10_000 and entry["problem"] is None
    assert entry["intact"]


def test_a_file_that_is_gone_or_cut_is_seen_at_a_glance(toy, tmp_path):
    store = toy.extract(tmp_path, toy.make_content(20))
    gone, cut, *_ = sorted((store.path / "shards").iterdir())
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    (entry,) = list_stores(tmp_path)
    assert not entry["intact"] and entry["rows"]
    assert entry["problem"] == (
        f"2 committed files missing or of another size, the first {gone.name}"
    )


def test_a_damaged_store_is_listed_with_its_problem(toy, tmp_path):
    store = toy.extract(tmp_path, toy.make_content(3))
    (store.path / "store.json").write_text("{}")
    (entry,) = list_stores(tmp_path)
    assert "store.json is damaged" in entry["problem"]
    assert entry["rows"] is None


def test_no_folder_is_said(tmp_path):
    with pytest.raises(NotFoundError, match="none, which is no folder"):
        list_stores(tmp_path / "none")
