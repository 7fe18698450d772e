"""Texts from tables and folders through both stages, by a small network."""

import csv
import hashlib
import itertools

import numpy as np
import pytest

from tl_pipeline.backbones import bert, registry
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import BackboneError, DatasetError, RequestError
from tl_pipeline.stages.backbones import load_backbone
from tl_pipeline.stages.baselines import load_baselines
from tl_pipeline.stages.check_backbone import check_backbone
from tl_pipeline.stages.explore import EXCERPT, Exploration
from tl_pipeline.stages.extract import extract
from tl_pipeline.stages.lanes import Batches
from tl_pipeline.stages.predict import predict
from tl_pipeline.stages.train import train
from tl_pipeline.stages.views import make_views
from tl_pipeline.store.store import open_store

ANIMALS = ("cat", "dog", "owl", "fox", "hen", "cow", "bee", "ant")
PLACES = ("barn", "house", "forest", "garden", "river", "old stone bridge over there")


@pytest.fixture(autouse=True)
def row(monkeypatch):
    """BERT's table with a small row."""
    shape = bert.VARIANTS["minilm_l6"]._replace(
        width=32, depth=2, heads=4, vocabulary=300, positions=128
    )
    monkeypatch.setitem(bert.VARIANTS, "bert_tiny", shape)
    monkeypatch.setitem(registry._MODULES, "bert_tiny", bert.__name__)


def tiny(**settings):
    return load_backbone("bert_tiny", weights="random:0", settings=settings)


def list_rows():
    """Returns rows of two classes, whose texts are of several lengths."""
    pairs = itertools.product(ANIMALS, PLACES)
    return [
        {"id": f"q{i:02d}", "text": text, "label": label}
        for i, (animal, place) in enumerate(pairs)
        for label, text in (
            ("where", f"Where is the {animal} of the {place} ?")
            if i % 2
            else ("is", f"The {animal} is in the {place} !"),
        )
    ]


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def run(table, root, backbone=None, **options):
    return extract(
        load_dataset(table),
        backbone or tiny(),
        features=["sentence", "layer2:max"],
        store_root=root,
        batch_size=8,
        **options,
    )


def test_a_table_of_texts_goes_through_both_stages(tmp_path):
    rows = list_rows()
    table = write_csv(tmp_path / "animals.csv", rows)
    first = run(table, tmp_path / "stores")
    assert (first.rows_computed, first.failures, first.inputs_cut) == (48, (), 0)
    store = open_store(first.store)
    read = store.read("sentence")
    by_id = {row["id"]: row for row in rows}
    snapshot = store.snapshot("animals")
    for id, digest in zip(snapshot.ids, snapshot.hex_digests(), strict=True):
        assert digest == hashlib.sha256(by_id[id]["text"].encode()).hexdigest()
    lengths = np.linalg.norm(np.float32(read.features), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-3)
    again = run(write_csv(table, rows[::-1]), tmp_path / "stores")
    assert (again.rows_computed, again.inputs_opened) == (0, 0)
    trained = train(first.store, run_root=tmp_path / "runs", features=["layer2:max"])
    # By its own rows, the run says of a table and of files what it said in training.
    folder = tmp_path / "new" / "all"
    folder.mkdir(parents=True)
    for row in rows[:6]:
        (folder / f"{row['id']}.txt").write_text(row["text"])
    of_table = {one.id: one for one in predict(trained.run, table)}
    for one in predict(trained.run, tmp_path / "new"):
        same = of_table[one.id.removeprefix("all/").removesuffix(".txt")]
        assert one.label == same.label in {"where", "is"}
        for name, probability in one.probabilities.items():
            assert probability == pytest.approx(same.probabilities[name], abs=1e-5)


def test_texts_that_cannot_be_used_are_listed_and_long_ones_counted(tmp_path):
    table = tmp_path / "t.csv"
    lines = [
        b"id,text,label",
        b"bad,caf\xe9,a",
        b"empty,,a",
        b"blank,   ,b",
        b"long," + b"word " * 40 + b",b",
        b"fine,a word,a",
    ]
    table.write_bytes(b"\n".join(lines) + b"\n")
    report = run(table, tmp_path / "stores")
    assert {f["id"]: (f["kind"], f["reason"]) for f in report.failures} == {
        "bad": ("decode", "it is no UTF-8: byte 0xe9 at 3 of 4"),
        "blank": ("decode", "it holds white space alone"),
        "empty": ("decode", "it is empty"),
    }
    assert (report.rows_computed, report.inputs_cut) == (2, 1)


def test_a_row_is_the_same_bits_whatever_its_neighbors_are():
    backbone = tiny()
    forward = backbone.make_forward(["sentence", "layer2", "pooler"])
    rng = np.random.default_rng(0)

    def make(length):
        padded = np.full(next(n for n in (8, 16, 32) if n >= length), -1, np.int32)
        padded[:length] = rng.integers(0, 256, length)
        return padded

    one = [make(n) for n in (5, 14, 8, 30)]
    others = [[make(n) for n in rng.integers(1, 33, 21)] for _ in range(4)]

    def compute(neighbors):
        batches = Batches(forward, batch_size=4)
        for example in (*one, *neighbors):
            batches.push(example)
        return {name: rows[: len(one)] for name, rows in batches.finish().items()}

    alone = compute([])
    assert set(map(len, one)) == {8, 16, 32}
    for neighbors in others:
        for name, rows in compute(neighbors).items():
            np.testing.assert_array_equal(rows, alone[name], err_msg=name)


def test_rows_come_back_in_the_order_in_which_they_were_pushed():
    batches = Batches(lambda x: {"sum": x.sum(axis=1)}, batch_size=3)
    lengths = [2, 4, 2, 2, 3, 4, 2, 2, 4, 4, 4]
    for i, length in enumerate(lengths):
        batches.push(np.full(length, i))
    assert batches.finish()["sum"].tolist() == [i * n for i, n in enumerate(lengths)]
    batches.push(np.full(4, 5))
    assert batches.finish()["sum"].tolist() == [20]
    assert batches.finish() == {}


def test_a_text_has_one_row_whether_a_table_or_a_folder_holds_it(tmp_path):
    rows = list_rows()
    run(write_csv(tmp_path / "t.csv", rows), tmp_path / "stores")
    for row in rows:
        file = tmp_path / "files" / row["label"] / f"{row['id']}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(row["text"])
    report = run(tmp_path / "files", tmp_path / "stores")
    assert (report.rows_computed, report.rows_reused) == (0, 48)


def test_data_of_another_kind_is_refused_before_anything_is_read(tmp_path):
    table = write_csv(tmp_path / "t.csv", list_rows())
    with pytest.raises(DatasetError, match="holds texts, and the backbone takes imag"):
        run(table, tmp_path, load_backbone("pixels"))
    with pytest.raises(DatasetError, match="holds images, and the backbone takes tex"):
        run("builtin:digits", tmp_path)


def test_what_is_of_images_alone_says_so(tmp_path):
    table = write_csv(tmp_path / "t.csv", list_rows())
    with pytest.raises(RequestError, match="views: the backbone takes texts"):
        run(table, tmp_path, views=make_views(2, "light"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]  # told first


@pytest.mark.parametrize(
    ("name", "feature", "words"),
    [
        (
            "bert_tiny",
            "layer2:avg",
            "pooled by cls, mean, last, max, none. Ask for",
        ),
        ("bert_tiny", "layer2:flatten", "pooled by cls, mean"),
        ("bert_tiny", "layer2:sum", "of images, and cls, mean, last, max, none of te"),
        ("bert_tiny", "sentence:mean", "sentence is a vector"),
        ("bert_tiny", "layer3", "it has layer0, layer1, layer2, pooler, sentence"),
        ("digits_cnn", "stage1:mean", "pooled by avg, max, flatten, none"),
    ],
)
def test_a_pooling_that_there_is_not_lists_those_that_there_are(name, feature, words):
    backbone = load_backbone(name, weights="random:0")
    with pytest.raises(BackboneError, match=words):
        backbone.make_forward([feature])


def test_baselines_are_those_of_the_kind_of_input():
    backbone = tiny()
    names = ["pixels", "bag_of_words", "random:0", "random:1"]
    found = load_baselines(names, beside=backbone, features=["layer2:mean"])
    assert [(b.name, b.features) for b in found] == [
        ("bag_of_words", ("pool",)),
        ("random:1", ("layer2:mean",)),
    ]
    assert found[1].backbone.preprocess == backbone.preprocess
    digits = load_backbone("digits_cnn", weights="random:0")
    of_images = load_baselines(names[:2], beside=digits, features=["pool"])
    assert [b.name for b in of_images] == ["pixels"]


def test_the_page_of_a_store_shows_the_beginning_of_a_text(tmp_path):
    rows = list_rows()
    rows[0]["text"] = "<b>" + "long " * 200
    report = run(write_csv(tmp_path / "t.csv", rows), tmp_path / "stores")
    page = Exploration(report.store, feature="sentence")
    kind, shown = page.show(page.points["id"].index("q00"))
    assert kind == "text/plain; charset=utf-8"
    assert shown.decode() == rows[0]["text"][:EXCERPT] + " ..."


def test_a_check_of_weights_runs_on_hard_texts():
    report = check_backbone("bert_tiny", weights="random:0")
    assert report.fine, report.problems
    assert report.features["layer1"]["finite"]
    assert report.features["layer1"]["one_by_one"] < 1e-5
