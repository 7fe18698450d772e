import csv
import hashlib
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tl_pipeline.backbones.byte_tokens import byte_preprocess
from tl_pipeline.data.decoding import DecodeError
from tl_pipeline.data.preparing import fingerprint, prepare
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.data.texts import decode_text
from tl_pipeline.data.tokenizing import HARD_TEXTS, LENGTHS, encode_text
from tl_pipeline.data.words import count_words
from tl_pipeline.errors import DatasetError
from tl_pipeline.preprocess import BagPreprocess

BYTES = byte_preprocess(64)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b" \t\n", "white space alone"),
        (b"caf\xe9 au lait", r"no UTF-8: byte 0xe9 at 3 of 12"),
        ("é".encode("utf-16"), "no UTF-8 but UTF-16"),
        (b"a" * 1_000_001, "1,000,001 characters, more than 1,000,000"),
    ],
)
def test_what_is_no_text_says_why(data, words):
    with pytest.raises(DecodeError, match=words):
        decode_text(data)


def test_a_mark_of_utf8_is_no_part_of_a_text():
    assert decode_text(b"\xef\xbb\xbfna\xc3\xafve ") == "naïve "


@pytest.mark.parametrize("n", [1, 7, 8, 9, 12, 13, 48, 49, 63, 64])
def test_an_input_has_the_first_length_that_holds_it(n):
    ids, is_cut = encode_text("a" * n, BYTES)
    assert len(ids) == next(length for length in LENGTHS if length >= n)
    assert ids.dtype == np.int32 and not is_cut
    assert (ids[:n] >= 0).all() and (ids[n:] == -1).all()


def test_a_text_that_is_too_long_is_cut_and_says_so():
    ids, is_cut = encode_text("a" * 65, BYTES)
    assert len(ids) == 64 and (ids >= 0).all() and is_cut
    odd = byte_preprocess(50)  # no length of the list: the longest is its own
    assert [len(encode_text("a" * n, odd)[0]) for n in (48, 49, 51)] == [48, 50, 50]


def test_the_fingerprint_is_of_the_hard_texts_and_not_of_their_padding():
    known = fingerprint(byte_preprocess(512))
    assert known == fingerprint(byte_preprocess(1000))  # none is longer
    assert known != fingerprint(byte_preprocess(16))


def test_a_bag_of_words_counts_words_and_pairs_whatever_their_case():
    preprocess = BagPreprocess(4096)
    one, two = (
        count_words(text, preprocess) for text in ("The cat sat.", "the CAT, sat!")
    )
    np.testing.assert_array_equal(one, two)
    assert np.count_nonzero(one) == 5  # three words and two pairs
    assert np.linalg.norm(one) == pytest.approx(1)
    other = count_words("sat cat the", preprocess)
    assert np.count_nonzero(one != other) == 4  # other pairs
    assert not count_words("...", preprocess).any()
    for text in HARD_TEXTS.values():
        assert prepare(text, preprocess).input.dtype == np.float32


ROWS = [
    {"text": "What is it ?", "label": 1, "split": "train"},
    {"text": 'Who, "they"\nsay', "label": 0, "split": "train"},
    {"text": "Ünïcödé 日本 👍", "label": 1, "split": "test"},
    {"text": "", "label": 0, "split": "test"},
]


def write_table(path, rows=ROWS, column="text"):
    rows = [{column if k == "text" else k: v for k, v in row.items()} for row in rows]
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_bytes_of_a_row_are_its_text_s_in_utf8(tmp_path, suffix):
    dataset = load_dataset(write_table(tmp_path / f"t{suffix}"))
    assert dataset.holds == "texts"
    assert [item.id for item in dataset.items] == [f"{i:08d}" for i in range(4)]
    read = [dataset.read(item) for item in dataset.items]
    assert read == [row["text"].encode() for row in ROWS]
    assert [item.target for item in dataset.items] == ["1", "0", "1", "0"]
    assert [item.split for item in dataset.items] == ["train"] * 2 + ["test"] * 2
    assert "text from `text`" in dataset.notes[0]


@pytest.mark.parametrize("column", ["sentence", "question", "my words"])
def test_the_column_of_texts_has_other_names_too(tmp_path, column):
    table = write_table(tmp_path / "t.csv", column=column)
    columns = {} if " " not in column else {"text": column}
    dataset = load_dataset(table, columns=columns)
    assert dataset.read(dataset.items[0]) == b"What is it ?"


def test_files_come_before_the_captions_beside_them(tmp_path):
    (tmp_path / "a.txt").write_text("of the file")
    table = tmp_path / "t.csv"
    table.write_text("path,text\na.txt,of the table\n")
    of_file = load_dataset(table)
    assert (of_file.holds, of_file.read(of_file.items[0])) == ("", b"of the file")
    of_table = load_dataset(table, columns={"text": "text"})
    assert of_table.read(of_table.items[0]) == b"of the table"
    with pytest.raises(DatasetError, match="files of 'path' and the texts of 'text'"):
        load_dataset(table, columns={"path": "path", "text": "text"})


def test_rows_that_are_no_utf8_are_examples_that_fail_later(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"id,text\na,caf\xe9\nb,fine\n")
    binary = pa.array([b"caf\xe9", b"fine"], pa.binary())
    table = pa.table({"id": ["a", "b"], "text": binary})
    parquet.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_bytes(
        b'{"id": "a", "text": "caf\xe9"}\n{"id": "b", "text": "fine"}\n'
    )
    for suffix in ("csv", "parquet", "jsonl"):
        dataset = load_dataset(tmp_path / f"t.{suffix}")
        read = [dataset.read(item) for item in dataset.items]
        assert read == [b"caf\xe9", b"fine"], suffix


def test_a_text_may_be_longer_than_any_name(tmp_path):
    text = "word " * 20_000
    table = write_table(tmp_path / "t.csv", [{"text": text, "label": 1}])
    (item,) = load_dataset(table).items
    assert load_dataset(table).read(item) == text.encode()


def test_a_table_that_changed_after_it_was_listed_gives_no_texts(tmp_path):
    table = write_table(tmp_path / "t.csv")
    dataset = load_dataset(table)
    table.write_text("text\nsomething else\n")
    with pytest.raises(OSError, match="changed after it was listed"):
        dataset.read(dataset.items[0])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_another_process_reads_the_same_texts_or_none(tmp_path, suffix):
    table = write_table(tmp_path / f"t{suffix}")
    dataset = load_dataset(table)
    sent = pickle.dumps(dataset)
    assert len(pickle.dumps(dataset.reader)) < 1000  # the texts stay in their file
    there = pickle.loads(sent)
    found = [there.read(item) for item in dataset.items]
    assert found == [dataset.read(item) for item in dataset.items] and any(found)
    write_table(tmp_path / f"t{suffix}")
    with pytest.raises(OSError, match="changed after it was listed"):
        pickle.loads(sent).read(dataset.items[0])


def test_texts_in_class_folders_are_the_bytes_of_their_files(tmp_path):
    for name in ("pos", "neg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text(f"{name} ☃", encoding="utf-8")
    dataset = load_dataset(tmp_path)
    item = dataset.items[0]
    digest = hashlib.sha256(dataset.read(item)).hexdigest()
    assert (item.id, item.target) == ("neg/1.txt", "neg")
    assert digest == hashlib.sha256("neg ☃".encode()).hexdigest()
