import pytest

from tl_pipeline.store import history
from tl_pipeline.store.history import (
    add_extraction,
    add_parity,
    covered_shards,
    read_history,
    recorded_rate,
)


def test_the_rate_is_that_of_the_largest_extraction_and_the_later_of_equals(tmp_path):
    assert recorded_rate(tmp_path) is None
    for rows, seconds in [(0, 9.0), (1000, 10.0), (1000, 5.0), (12, 60.0)]:
        add_extraction(tmp_path, {"rows_computed": rows, "seconds": seconds})
    assert recorded_rate(tmp_path) == 200.0


def test_parity_covers_the_shards_that_it_names(toy, tmp_path):
    store = toy.extract(tmp_path, toy.make_content(20))
    first, *others = [shard.name for shard in store.manifest.shards]
    assert others and not store.has_parity()
    with store.lock():
        store.record_parity({"shards": [first]})
        assert not store.has_parity()
        store.record_parity({"shards": others})
    assert store.has_parity()
    with pytest.raises(TypeError, match="names the shards"):
        add_parity(tmp_path, {})


def test_old_records_go_but_a_shards_only_voucher_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "KEPT_LINES", 3)
    add_parity(tmp_path, {"shards": ["a"]})
    add_parity(tmp_path, {"shards": ["b"]})
    add_parity(tmp_path, {"shards": ["b", "c"]})
    for n in range(5):
        add_extraction(tmp_path, {"rows_computed": n, "seconds": 1.0})
    assert covered_shards(tmp_path) == {"a", "b", "c"}
    kept = [
        record.get("shards", record.get("seconds")) for record in read_history(tmp_path)
    ]
    assert kept == [["a"], ["b", "c"], 1.0, 1.0, 1.0]
