"""What is planted in a folder of photographs is found in its store."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import (
    ConfigError,
    DatasetError,
    NotFoundError,
    RequestError,
    StoreError,
)
from tl_pipeline.stages import vectors
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.checkup import check_up
from tl_pipeline.stages.differences import diff_stores
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.neighborhood import find_neighbors
from tl_pipeline.stages.picture import draw_store
from tl_pipeline.stages.vectors import choose_feature, iterate_vectors, load_vectors
from tl_pipeline.store.store import open_store

PIXELS = load_backbone("pixels", settings={"size": 4, "color": "rgb"})
Extract = Callable[..., Path]


def write_photo(path: Path, *, level: float, seed: int) -> None:
    """Writes a photograph of noise around a color; its first row is always black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.normal([level, 255 - level, 128], 25, (4, 4, 3)).clip(1, 255)
    pixels[0, 0] = 0
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    os.utime(path, (1e9, 1e9))


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, val and test photographs, with a copy, a leak, and a wrong label."""
    root = tmp_path_factory.mktemp("inspected") / "photos"
    for split, n in (("train", 16), ("val", 5), ("test", 5)):
        for level, name in ((70, "ants"), (185, "bees")):
            for i in range(n):
                seed = hash((len(split), level, i)) % 2**32
                path = root / split / name / f"{i:02d}.png"
                write_photo(path, level=level, seed=seed)
    shutil.copy(root / "train/ants/00.png", root / "train/ants/copy.png")
    shutil.copy(root / "train/bees/03.png", root / "test/bees/leak.png")
    write_photo(root / "train/ants/wrong.png", level=185, seed=77)
    nearly = np.array(Image.open(root / "train/bees/05.png"))
    nearly[2, 2] += 1
    Image.fromarray(nearly).save(root / "val/bees/nearly.png")
    (root / "train/ants/broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="session")
def store(photographs: Path) -> Path:
    return extract_into(photographs, photographs.parent / "stores")


def extract_into(photos: Path, stores: Path, **options: Any) -> Path:
    report = extract(
        load_dataset(photos), PIXELS, features=["pool"], store_root=stores, **options
    )
    return Path(report.store)


def test_planted_dimensions_copies_and_labels_are_found(store: Path):
    found: Any = check_up(store, most_rows=1000)
    assert (found["examples"], found["labeled"]) == (57, 57)
    assert found["same_bytes"]["groups"] == 2
    assert found["same_bytes"]["first_leaks"] == [
        ["test/bees/leak.png", "train/bees/03.png"]
    ]
    (pool,) = found["features"]
    assert pool["dead"] == {"count": 3, "first": [0, 1, 2]}
    assert pool["constant"]["count"] == 0
    assert (pool["rows"], pool["of"], pool["failed"]) == (56, 57, 1)
    (pair,) = pool["near"]["first_leaks"]
    assert pair["ids"] == ["train/bees/05.png", "val/bees/nearly.png"]
    assert pair["splits"] == ["train", "val"]
    # The copies are listed as such, and nowhere else.
    assert pool["near"]["pairs"] == 1
    suspect = pool["suspects"]["first"][0]
    assert suspect["id"] == "train/ants/wrong.png"
    assert (suspect["target"], suspect["suggested"]) == ("ants", "bees")
    assert suspect["confidence"] < 0.2


def test_rows_are_drawn_where_there_are_more_and_the_figures_say_so(store: Path):
    found: Any = check_up(store, most_rows=20)
    (pool,) = found["features"]
    assert pool["rows"] + pool["failed"] == 20 and pool["of"] == 57
    assert found["same_bytes"]["groups"] == 2  # among all
    assert check_up(store, most_rows=20) == found


def test_wrong_bounds_are_refused(store: Path):
    with pytest.raises(ConfigError, match="cosine 1.5"):
        check_up(store, near=1.5)
    with pytest.raises(ConfigError, match="1 rows"):
        check_up(store, most_rows=1)


def test_classes_too_small_to_judge_are_named_and_one_class_is_not_judged(
    tmp_path: Path,
):
    for i in range(6):
        write_photo(tmp_path / "p" / "ants" / f"{i}.png", level=60, seed=i)
    write_photo(tmp_path / "p" / "rare" / "0.png", level=60, seed=9)
    store = extract_into(tmp_path / "p", tmp_path / "stores")
    found: Any = check_up(store)
    suspects = found["features"][0]["suspects"]
    assert suspects["small"] == ["rare"] and suspects["count"] is None


def test_the_last_snapshot_is_compared_with_the_one_before(
    photographs: Path, tmp_path: Path
):
    photos = Path(shutil.copytree(photographs, tmp_path / "photos"))
    store = extract_into(photos, tmp_path / "stores")
    first = open_store(store).snapshot().digest
    with pytest.raises(RequestError, match="is its first one"):
        diff_stores(store)
    (photos / "train/ants/wrong.png").rename(photos / "train/bees/right.png")
    (photos / "train/ants/01.png").unlink()
    write_photo(photos / "train/ants/new.png", level=70, seed=1234)
    for i in range(16):  # darker: other bytes, and a shift
        write_photo(photos / f"train/bees/{i:02d}.png", level=110, seed=500 + i)
    assert extract_into(photos, tmp_path / "stores") == store
    found: Any = diff_stores(store)
    assert found["a"]["snapshot"] == first
    assert found["spec"] == []
    changes = found["examples"]
    assert changes["added"] == {"count": 1, "first": ["train/ants/new.png"]}
    assert changes["removed"] == {"count": 1, "first": ["train/ants/01.png"]}
    assert changes["changed"]["count"] == 16
    assert changes["relabeled"]["first"] == [
        {"id": "train/bees/right.png", "a": "ants", "b": "bees"}
    ]
    assert changes["unchanged"] == 57 - 1 - 16 - 1
    (drift,) = found["drift"]
    ants, bees = drift["classes"]
    assert bees["exceeds_noise"] and not ants["exceeds_noise"]
    assert bees["mean_shift"] > 5 * ants["mean_shift"]
    back: Any = diff_stores(store, snapshot_a=found["b"]["snapshot"], snapshot_b=first)
    assert back["examples"]["added"]["first"] == ["train/ants/01.png"]
    assert diff_stores(store, snapshot_a=first[:12]) == found


def test_a_store_equals_itself_and_two_specs_differ_field_by_field(
    store: Path, photographs: Path, tmp_path: Path
):
    same: Any = diff_stores(
        store, store, snapshot_a=_digest(store), snapshot_b=_digest(store)
    )
    assert same["examples"]["unchanged"] == 57
    assert same["drift"][0]["overall"]["frechet"] == 0
    other = extract_into(photographs, tmp_path / "stores", store_dtype="float32")
    found: Any = diff_stores(store, other)
    assert found["spec"] == [{"field": "store_dtype", "a": "float16", "b": "float32"}]
    assert not found["drift"][0]["overall"]["exceeds_noise"]
    with pytest.raises(NotFoundError, match="both sides have pool"):
        diff_stores(store, other, features=["poll"])


def _digest(store: Path) -> str:
    return open_store(store).snapshot().digest


def test_a_copy_is_the_nearest_neighbor_and_cosines_are_plain(
    store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vectors, "_ROWS_AT_ONCE", 10)
    found: Any = find_neighbors(store, "train/bees/03.png", k=56)
    first = found["neighbors"][0]
    assert first["id"] == "test/bees/leak.png"
    assert (first["target"], first["split"]) == ("bees", "test")
    assert found["rows"] == 56 and len(found["neighbors"]) == 55
    rows = open_store(store).read("pool")
    features = rows.features.astype(np.float64)
    here = features[rows.ids.index("train/bees/03.png")]
    for one in found["neighbors"]:
        there = features[rows.ids.index(one["id"])]
        cosine = here @ there / np.linalg.norm(here) / np.linalg.norm(there)
        assert one["similarity"] == pytest.approx(cosine, abs=1e-5)
    short: Any = find_neighbors(store, "train/bees/03.png", k=2)
    assert short["neighbors"] == found["neighbors"][:2]


def test_an_unknown_id_is_answered_by_those_spelled_alike(store: Path):
    with pytest.raises(NotFoundError, match="Did you mean test/bees/leak.png"):
        find_neighbors(store, "LEAK")
    with pytest.raises(NotFoundError, match="Did you mean .*train/ants/wrong.png"):
        find_neighbors(store, "train/ant/wrong.png")
    with pytest.raises(NotFoundError, match="Ids look like test/ants/00.png"):
        find_neighbors(store, "0123456789-?!")
    with pytest.raises(ConfigError, match="0 neighbors"):
        find_neighbors(store, "test/ants/00.png", k=0)


def test_an_example_that_failed_has_no_neighbors(store: Path):
    with pytest.raises(StoreError, match=r"broken.png: it has no pool"):
        find_neighbors(store, "train/ants/broken.png")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_store_gives_the_same_picture(
    store: Path, tmp_path: Path, suffix: str
):
    pictures = []
    for name in ("one", "two"):
        found: Any = draw_store(store, tmp_path / f"{name}{suffix}", color="split")
        assert (found["rows"], found["of"]) == (56, 57)
        pictures.append(Path(found["path"]).read_bytes())
    assert pictures[0] == pictures[1]


def test_a_picture_that_cannot_be_made_is_refused(store: Path, tmp_path: Path):
    for options, words in (
        ({"out": tmp_path / "x.pdf"}, r"'.pdf'; known are .png, .svg"),
        ({"method": "mds"}, "'mds'; known are pca, tsne, umap"),
        ({"color": "id"}, "'id'; known are target, split, prediction"),
        ({"color": "prediction"}, "no run: predictions are .* --run"),
        ({"run": tmp_path}, "'target' and the run .*: predictions are"),
    ):
        with pytest.raises(ConfigError, match=words):
            draw_store(store, **({"out": tmp_path / "x.png"} | options))
    with pytest.raises(NotFoundError, match="no folder"):
        draw_store(store, tmp_path / "none" / "x.png")
    with pytest.raises(DatasetError, match="2 rows"):
        draw_store(store, tmp_path / "x.png", most_rows=2)
    assert not list(tmp_path.iterdir())


def test_rows_that_are_no_vectors_are_averaged_over_their_positions(
    store: Path, monkeypatch: pytest.MonkeyPatch
):
    opened = open_store(store)
    examples = opened.snapshot().take(range(5))
    rows = opened.read("pool", snapshot=examples)
    maps = rows.features.reshape(5, 4, 4, 3)
    read = dataclasses.replace(rows, features=maps)
    monkeypatch.setattr(opened, "read", lambda *_, **__: read)
    found = load_vectors(opened, "pool", examples, most_rows=9, seed=0)
    assert found.averaged and found.shape == (4, 4, 3)
    wanted = maps.astype(np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(found.rows.features, wanted, rtol=1e-6)


def test_all_rows_come_once_in_order_of_content(
    store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(vectors, "_ROWS_AT_ONCE", 10)
    opened = open_store(store)
    blocks = list(iterate_vectors(opened, "pool", opened.snapshot()))
    assert sorted(id for rows in blocks for id in rows.ids) == list(
        opened.read("pool").ids
    )
    bounds = [(min(map(bytes, b.content)), max(map(bytes, b.content))) for b in blocks]
    assert len(bounds) == 6
    assert all(bounds[i][1] <= bounds[i + 1][0] for i in range(len(bounds) - 1))


def test_of_several_features_one_is_named_unless_there_is_pool(store: Path):
    opened = open_store(store)
    assert choose_feature(opened, None) == "pool"
    assert choose_feature(opened, "other") == "other"
    info = opened.manifest.features["pool"]
    for names, known in ((("a", "pool"), "pool"), (("a", "b"), None)):
        opened._lookup.manifest = dataclasses.replace(
            opened.manifest, features=dict.fromkeys(names, info)
        )
        if known:
            assert choose_feature(opened, None) == known
    with pytest.raises(RequestError, match="2 features: a, b"):
        choose_feature(opened, None)
