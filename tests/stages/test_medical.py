"""DICOM files by patient, into a store by a network of gray images of 16 bits."""

import csv
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from pydicom.encaps import encapsulate

from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.preprocessing import preprocess_image
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.extract import extract
from tl_pipeline.store.store import open_store

sys.path.append(str(Path(__file__).parents[1] / "data"))

from dicoms import make_dicom  # noqa: E402

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def draw(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60_000, (40, 36)).astype(np.uint16)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Ten patients of four images, of which one cannot be decoded."""
    folder = tmp_path_factory.mktemp("xrays")
    rows = []
    for i in range(40):
        data = make_dicom(
            draw(i), kind=f"MONOCHROME{1 + i % 2}", PatientID=f"P{i // 4}"
        )
        if i == 7:
            pixels = encapsulate([b"\xff\xd8\xff\xd9"])
            data = make_dicom(draw(i), syntax=JPEG_LOSSLESS, pixels=pixels)
        if i == 8:  # as the one before it, but for bits that 8 do not show
            data = make_dicom(draw(9) ^ 3, kind="MONOCHROME2")
        path = folder / f"{i:02}.dcm"
        path.write_bytes(data)
        os.utime(path, (1e9, 1e9))  # old enough for its stamp to be trusted
        rows.append([path.name, "ill" if i % 3 else "well", f"P{i // 4}"])
    with (folder / "xrays.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "target", "patient"], *rows])
    return folder / "xrays.csv"


@pytest.fixture(scope="module")
def backbone():
    settings = {"input_size": 32, "channels": 1}
    return load_backbone("resnet18", weights="random:0", settings=settings)


@pytest.fixture(scope="module")
def report(table, backbone):
    dataset = load_dataset(table, columns={"group": "patient"})
    stores = table.parent / "stores"
    return extract(dataset, backbone, features=["stem:avg"], store_root=stores)


def test_a_patient_is_on_one_side_of_the_split(report):
    (snapshot,) = Path(report.store, "snapshots").glob("*.h5")
    with h5py.File(snapshot) as file:
        groups, splits = file["group"][:].tolist(), file["split"][:].tolist()
    assert len(set(groups)) == 10 and len(set(splits)) > 1
    assert len(set(zip(groups, splits, strict=True))) == 10


def test_what_no_decoder_reads_is_one_sentence_of_the_ledger(report):
    (failure,) = report.failures
    assert failure["id"] == "07.dcm" and failure["kind"] == "decode"
    assert failure["reason"] == (
        "its pixels are compressed as JPEG Lossless, Non-Hierarchical, First-Order "
        "Prediction (Process 14 [Selection Value 1]), which no installed decoder reads"
    )


def test_rows_are_of_all_16_bits(report, table, backbone):
    assert report.rows_computed == 39
    stored = dict(zip(*read_rows(report.store), strict=True))
    files = [table.parent / f"{i:02}.dcm" for i in (8, 9)]
    shallow = [np.asarray(decode_image(path.read_bytes())) for path in files]
    np.testing.assert_array_equal(*shallow)
    inputs = [
        preprocess_image(
            decode_image(path.read_bytes(), deep=True), backbone.preprocess
        )
        for path in files
    ]
    assert inputs[0].dtype == np.uint16
    assert 0 < np.abs(inputs[0].astype(int) - inputs[1]).max() < 257
    forward = backbone.make_forward(["stem:avg"])(np.stack(inputs))
    rows = np.asarray(forward["stem:avg"])
    for name, row in zip(("08.dcm", "09.dcm"), rows, strict=True):
        np.testing.assert_allclose(stored[name], row, rtol=2e-3, atol=2e-3)
    assert np.any(stored["08.dcm"] != stored["09.dcm"])


def test_a_second_run_computes_nothing(report, table, backbone):
    again = extract(
        load_dataset(table, columns={"group": "patient"}),
        backbone,
        features=["stem:avg"],
        store_root=table.parent / "stores",
    )
    assert (again.rows_computed, again.rows_reused) == (0, 39)


def read_rows(store):
    rows = [
        open_store(store).read("stem:avg", split=s) for s in ("train", "val", "test")
    ]
    ids = [id_ for part in rows for id_ in part.ids]
    return ids, np.concatenate([part.features for part in rows]).astype(np.float32)
