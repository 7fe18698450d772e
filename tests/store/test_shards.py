import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tl_pipeline.store import shards
from tl_pipeline.store.reading import read_keys, read_rows
from tl_pipeline.store.schema import FeatureInfo
from tl_pipeline.store.shards import build_shard


def build(toy, n=20, seed=0, infos=None, **changes):
    infos = infos or {"pool": FeatureInfo((8,), "float16")}
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.standard_normal((n, *info.shape)).astype(info.dtype)
        for name, info in infos.items()
    }
    keywords = dict(
        infos=infos, spec=toy.SPEC, recipe="plain", view=0, versions=toy.VERSIONS
    )
    shard = build_shard(3, toy.make_content(n), arrays, **(keywords | changes))
    return shard, arrays


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n=st.integers(1, 300),
    dtypes=st.lists(st.sampled_from(["float16", "float32"]), min_size=1, max_size=3),
    # Rows from 2 bytes to above 1 MiB: many rows a chunk, and one.
    shapes=st.lists(
        st.sampled_from([(1,), (1280,), (7, 7, 32), (300, 1024)]),
        min_size=3,
        max_size=3,
    ),
)
def test_every_shard_reads_as_it_was_built(toy, tmp_path, n, dtypes, shapes):
    n = min(n, 2**24 // (4 * max(int(np.prod(shape)) for shape in shapes)))
    infos = {
        f"stage{i}:avg": FeatureInfo(shape, dtype)
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=False))
    }
    shard, arrays = build(toy, n=n, infos=infos)
    path = tmp_path / shard.entry.name
    path.write_bytes(shard.data)
    np.testing.assert_array_equal(read_keys(path, shard.entry), toy.make_content(n))
    with h5py.File(path) as file:
        for name, rows in arrays.items():
            found = read_rows(path, shard.entry, name, infos[name])
            assert found.dtype == rows.dtype
            np.testing.assert_array_equal(found, rows)
            np.testing.assert_array_equal(file["features"][name][...], rows)


def test_the_same_content_makes_the_same_bytes_whatever_the_order_of_names(toy):
    infos = {"a": FeatureInfo((2,), "float16"), "b": FeatureInfo((3,), "float32")}
    first, arrays = build(toy, infos=infos)
    second = build_shard(
        3,
        toy.make_content(20),
        dict(reversed(arrays.items())),
        infos=dict(reversed(infos.items())),
        spec=dict(reversed(toy.SPEC.items())),
        recipe="plain",
        view=0,
        versions=dict(reversed(toy.VERSIONS.items())),
    )
    assert bytes(first.data) == bytes(second.data)
    assert first.entry == second.entry


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"n": 19}, {"recipe": "flip"}, {"versions": {}}]
)
def test_other_content_makes_another_name(toy, changes):
    assert build(toy, **changes)[0].entry.name != build(toy)[0].entry.name


def test_the_bytes_do_not_depend_on_when_datasets_are_closed(toy, monkeypatch):
    infos = {name: FeatureInfo((64,), "float16") for name in ("a", "b")}
    expected, _ = build(toy, n=15, infos=infos)
    held, add = [], shards.add_dataset

    def add_and_hold(*args):
        held.append(add(*args))
        return held[-1]

    monkeypatch.setattr(shards, "add_dataset", add_and_hold)
    assert build(toy, n=15, infos=infos)[0] == expected
    assert len(held) == 4


def test_it_reads_like_a_document(toy, tmp_path):
    info = FeatureInfo((5,), "float16", "c" * 64)
    shard, arrays = build(toy, infos={"logits": info}, recipe="flip", view=2)
    path = tmp_path / "shard.h5"
    path.write_bytes(shard.data)
    with h5py.File(path) as file:
        assert sorted(file) == ["content_digest", "features", "view"]
        assert set(file["view"][...]) == {2}
        assert file.attrs["recipe"] == b"flip"
        assert b'"backbone":"toy"' in file.attrs["spec"]
        assert b'"platform":"toy"' in file.attrs["versions"]
        logits = file["features/logits"]
        assert logits.attrs["classifier"] == b"c" * 64
        assert logits.attrs["units"] == b"dimensionless activations"
        assert b"backbone toy, [rows, 5] float16" in logits.attrs["description"]
        assert logits.fletcher32 and logits.chunks == (20, 5)
        assert logits.compression is None


def test_the_largest_magnitude_is_in_the_entry(toy):
    shard, arrays = build(toy)
    assert shard.entry.largest == {"pool": float(np.abs(arrays["pool"]).max())}
