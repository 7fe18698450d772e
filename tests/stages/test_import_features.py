from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import DatasetError, ParityError, RequestError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.import_features import ImportReport, import_features
from tl_pipeline.stages.plain_file import export_store
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train
from tl_pipeline.store.store import open_store
from tl_pipeline.store.verify import verify_store

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 3, 240)
ROWS = (RNG.normal(size=(240, 8)) + 3 * np.eye(8)[CLASSES]).astype(np.float32)
IDS = np.array([f"{row:03}.jpg" for row in RNG.permutation(240)])


def bring(tmp_path: Path, arrays: dict[str, Any], **options: Any) -> ImportReport:
    path = tmp_path / "features.npz"
    np.savez(path, **arrays)
    made = {"backbone": "some vit", "weights": "theirs", "dataset": "flowers"}
    root = tmp_path / "stores"
    report = import_features([path], store_root=root, **(made | options))
    assert report.examples == (
        report.rows_reused
        + report.rows_imported
        + report.duplicates
        + len({failure["content"] for failure in report.failures})
    )
    return report


def columns(**more: Any) -> dict[str, Any]:
    return {"pool": ROWS, "id": IDS, "target": CLASSES, **more}


def test_heads_train_on_imported_features(tmp_path: Path):
    report = bring(tmp_path, columns())
    assert report.rows_imported == 240 and report.keyed_by == "row"
    trained = train(report.store, run_root=tmp_path / "runs")
    assert trained.test["accuracy"]["value"] > 0.9
    assert "some vit" in Path(trained.report).read_text()
    with pytest.raises(RequestError, match="made elsewhere by some vit"):
        predict(trained.run, tmp_path)


def test_rows_keep_their_ids_and_values(tmp_path: Path):
    rows = open_store(bring(tmp_path, columns()).store).read("pool")
    order = np.argsort(IDS)
    assert rows.ids == tuple(IDS[order])
    np.testing.assert_array_equal(rows.features, ROWS[order])
    assert rows.targets == tuple(map(str, CLASSES[order]))


def test_importing_again_adds_nothing_and_more_rows_only_those(tmp_path: Path):
    part = {name: array[:200] for name, array in columns().items()}
    first = bring(tmp_path, part)
    before = (Path(first.store) / "store.json").read_bytes()
    assert bring(tmp_path, part).rows_reused == 200
    assert (Path(first.store) / "store.json").read_bytes() == before
    grown = bring(tmp_path, columns())
    assert (grown.rows_reused, grown.rows_imported) == (200, 40)
    assert grown.changes is not None and grown.changes["added"] == 40
    assert verify_store(Path(grown.store))["intact"]


def test_another_declaration_is_another_store(tmp_path: Path):
    one = bring(tmp_path, columns())
    assert bring(tmp_path, columns(), weights="ours").store != one.store
    assert bring(tmp_path, columns(), preprocess="none").store != one.store
    assert bring(tmp_path, columns(), store_dtype="float16").store != one.store


def test_rows_are_keyed_by_the_examples_where_the_data_is_at_hand(tmp_path: Path):
    photos = tmp_path / "photos"
    for name in ("ant", "bee"):
        (photos / name).mkdir(parents=True)
        for i in range(20):
            shade = RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(shade).save(photos / name / f"{i}.png")
    data = load_dataset(photos)
    ids = np.array([item.id for item in data.items])[::-1]
    arrays = {"pool": ROWS[:40], "id": ids}
    report = bring(tmp_path, arrays, data=data)
    assert report.keyed_by == "data"
    pixels = extract(
        data,
        load_backbone("pixels"),
        features=["pool"],
        store_root=tmp_path / "stores",
    )
    ours = open_store(pixels.store).snapshot()
    theirs = open_store(report.store).snapshot()
    np.testing.assert_array_equal(ours.content, theirs.content)
    assert ours.targets == theirs.targets and ours.splits == theirs.splits

    # Another layer of the same examples joins them, row by row.
    both = bring(tmp_path, {"early": 2 * ROWS[:40], "id": ids}, data=data)
    assert both.store == report.store and both.rows_imported == 40
    assert set(open_store(both.store).manifest.features) == {"early", "pool"}

    with pytest.raises(ParityError, match="other --weights"):
        bring(tmp_path, {"pool": ROWS[40:80], "id": ids}, data=data)
    with pytest.raises(DatasetError, match=r"1 of 40 ids.*'moth/1\.png'"):
        strange = np.array(["moth/1.png", *ids[1:]])
        bring(tmp_path, {"pool": ROWS[:40], "id": strange}, data=data)


def test_an_export_comes_back_as_it_was(tmp_path: Path):
    report = bring(tmp_path, columns(group=np.array(["g"] * 240)))
    for suffix in ("npz", "h5", "parquet"):
        out = tmp_path / f"x.{suffix}"
        export_store(report.store, out)
        back = import_features(
            [out],
            backbone="back",
            weights=suffix,
            dataset="flowers",
            store_root=tmp_path / "stores",
        )
        assert back.keyed_by == "content_digest"
        assert back.snapshot == report.snapshot
        np.testing.assert_array_equal(
            open_store(back.store).read("pool").features,
            open_store(report.store).read("pool").features,
        )


def test_what_cannot_be_stored_is_a_failure_with_its_reason(tmp_path: Path):
    rows = ROWS.copy()
    rows[3, 2], rows[5, 0] = np.nan, 1e6
    report = bring(tmp_path, columns(pool=rows), store_dtype="float16")
    reasons = {failure["id"]: failure["reason"] for failure in report.failures}
    assert reasons == {
        IDS[3]: "has a value that is no number",
        IDS[5]: "overflows float16",
    }
    assert bring(tmp_path, columns(pool=rows), store_dtype="float16").failures


def test_float16_files_stay_float16(tmp_path: Path):
    report = bring(tmp_path, columns(pool=ROWS.astype(np.float16)))
    assert open_store(report.store).dtype == "float16"
    assert open_store(bring(tmp_path, columns()).store).dtype == "float32"


def test_splits_are_the_files_own(tmp_path: Path):
    split = np.array(["train", "validation"] * 120)
    report = bring(tmp_path, columns(split=split))
    examples = open_store(report.store).snapshot()
    assert examples.splits.count("test") == 120
    assert 0 < examples.splits.count("val") < 60
    assert any("`val` is used as the test split" in note for note in report.notes)
    with pytest.raises(DatasetError, match="'dev'"):
        bring(tmp_path, columns(split=np.array(["dev"] * 240)))


def test_bad_ids_are_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="more than once"):
        bring(tmp_path, columns(id=np.array(["a", "a", *IDS[2:]])))
    with pytest.raises(DatasetError, match="Row 2 of the features has no id"):
        bring(tmp_path, columns(id=np.array(["a", "", *IDS[2:]])))
    report = bring(tmp_path, {"pool": ROWS})
    assert open_store(report.store).snapshot().ids[:2] == ("000", "001")


def test_one_digest_with_two_rows_is_refused(tmp_path: Path):
    digests = np.array([f"{row:064x}" for row in range(240)])
    digests[7] = digests[8]
    with pytest.raises(DatasetError, match="same bytes but different rows of pool"):
        bring(tmp_path, columns(content_digest=digests))
    with pytest.raises(DatasetError, match="64 hexadecimal digits"):
        bring(tmp_path, columns(content_digest=np.array(["x"] * 240)))
