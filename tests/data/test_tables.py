import json
import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tl_pipeline.data.contents import digest_items, make_examples
from tl_pipeline.data.dataset import Dataset
from tl_pipeline.data.sources import load_dataset
from tl_pipeline.errors import ConfigError, DatasetError

ROWS = [
    {"path": "a/1.png", "target": "cat", "split": "train", "group": "g1"},
    {"path": "a/2.png", "target": "dog", "split": "train", "group": None},
    {"path": "b/3.png", "target": None, "split": "validation", "group": "g2"},
    {"path": "b/4.png", "target": "cat", "split": "test", "group": "g3"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row in ROWS:
        path = tmp_path / row["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(row["path"].encode())
    return tmp_path


def write_table(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        lines = [
            ",".join("" if v is None else str(v) for v in r.values()) for r in rows
        ]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n")
    return path


def write_text(folder: Path, data: str | bytes, suffix: str = ".csv") -> Path:
    path = folder / f"t{suffix}"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def rows_of(dataset: Dataset) -> list[tuple]:
    return [(i.id, i.target, i.split, i.group) for i in dataset.items]


def refuse(path: Path, **options) -> str:
    with pytest.raises(DatasetError) as caught:
        load_dataset(path, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".CSV"])
def test_a_table_in_each_format_is_the_same_dataset(folder: Path, suffix: str):
    dataset = load_dataset(write_table(folder / f"pets{suffix}", ROWS))
    assert dataset.name == "pets"
    assert rows_of(dataset) == [
        ("a/1.png", "cat", "train", "g1"),
        ("a/2.png", "dog", "train", None),
        ("b/3.png", None, "val", "g2"),
        ("b/4.png", "cat", "test", "g3"),
    ]
    assert [dataset.read(i) for i in dataset.items] == [
        i.id.encode() for i in dataset.items
    ]
    assert dataset.notes[0] == (
        "Columns: path from `path`, target from `target`, split from `split`, group "
        "from `group`."
    )


@pytest.mark.parametrize("name", ["path", "image", "file"])
@pytest.mark.parametrize("target", ["target", "label"])
def test_columns_have_conventional_names(folder: Path, name: str, target: str):
    path = write_text(folder, f"{target},x,{name}\n1,9,a/1.png\n")
    assert rows_of(load_dataset(path)) == [("a/1.png", "1", None, None)]


def test_a_column_that_is_named_is_the_one_and_no_other(folder: Path):
    path = write_text(folder, "path,photo,target,kind,key\nno,a/1.png,no,cat,k1\n")
    columns = {"path": "photo", "target": "kind", "id": "key"}
    assert rows_of(load_dataset(path, columns=columns)) == [("k1", "cat", None, None)]
    message = refuse(path, columns={"path": "foto"})
    assert "no column 'foto' for the path; found 'path', 'photo', 'target'" in message
    assert "did you mean 'photo'?" in message
    with pytest.raises(ConfigError, match="columns of taget; known roles are path"):
        load_dataset(path, columns={"taget": "kind"})


def test_all_roles_that_cannot_be_settled_are_said_at_once(folder: Path):
    path = write_text(folder, "image,file,label,label,splits\na,b,c,d,e\n")
    message = refuse(path, columns={"split": "split"})
    assert "the columns image and file may both be the path: name one" in message
    assert "2 columns are called 'label': rename all but one" in message
    assert "no column 'split' for the split" in message
    assert "did you mean 'splits'?" in message


def test_paths_may_be_absolute_or_lead_upwards(folder: Path):
    (folder / "tables").mkdir()
    text = f"path\n../a/1.png\n{folder}/b/3.png\n./../a//2.png\n"
    dataset = load_dataset(write_text(folder / "tables", text))
    ids = [item.id for item in dataset.items]
    assert ids == ["../a/1.png", "../a/2.png", f"{folder}/b/3.png"]
    contents = [dataset.read(item) for item in dataset.items]
    assert contents == [b"a/1.png", b"a/2.png", b"b/3.png"]


def test_files_that_cannot_be_had_are_counted_and_listed(folder: Path):
    os.mkfifo(folder / "pipe")
    names = ["a/1.png", *(f"../none/{i}.png" for i in range(7)), "a", "pipe", "\0"]
    message = refuse(write_text(folder, "path\n" + "\n".join(names) + "\n"))
    assert "7 rows whose file cannot be had (No such file or directory):" in message
    assert "row 6 '../none/4.png' and 2 more" in message
    assert "2 rows whose path is no file: row 9 'a', row 10 'pipe'" in message
    assert "1 row whose file cannot be had (embedded null byte): row 11" in message
    assert "leave rows out with `exclude`" in message


def test_excluded_rows_need_no_file(folder: Path):
    path = write_text(folder, "path,split\na/1.png,\nnone.png,odd\n")
    dataset = load_dataset(path, exclude=["none*"])
    assert [item.id for item in dataset.items] == ["a/1.png"]
    assert "`exclude` leaves out 1 example." in dataset.notes
    with pytest.raises(DatasetError, match="leaves none of its 2 examples"):
        load_dataset(path, exclude=["*"])


def test_ids_are_the_columns_and_unique(folder: Path):
    text = "path,id\na/1.png,x\na/1.png,y\na/2.png,x\nb/3.png,\n"
    message = refuse(write_text(folder, text))
    assert "1 row with the id of a row before: row 3 'x'" in message
    assert "1 row without an id: row 4" in message
    dataset = load_dataset(write_text(folder, "path,id\na/1.png,y\na/1.png,x\n"))
    assert [item.id for item in dataset.items] == ["x", "y"]


def test_one_file_spelled_twice_is_one_id(folder: Path):
    message = refuse(write_text(folder, "path\na/1.png\n./a//1.png\n"))
    assert "1 row with the id of a row before: row 2 'a/1.png'" in message


def test_ids_are_in_one_unicode_form(folder: Path):
    decomposed = unicodedata.normalize("NFD", "é.png")
    (folder / decomposed).write_bytes(b"")
    dataset = load_dataset(write_text(folder, f"path\n{decomposed}\n"))
    assert dataset.items[0].id == "é.png"
    assert dataset.read(dataset.items[0]) == b""


def test_a_row_without_a_path_is_named(folder: Path):
    message = refuse(write_text(folder, "path,target\na/1.png,x\n,y\n"))
    assert "  1 row without a path: row 2\nRows" in message


def test_unknown_splits_are_listed_with_the_known_ones(folder: Path):
    text = "path,split\na/1.png,train\na/2.png,Train\nb/3.png,dev\n"
    message = refuse(write_text(folder, text))
    assert "2 rows with an unknown split (known are train, val, valid, " in message
    assert "row 2 'Train', row 3 'dev'" in message


@pytest.mark.parametrize(
    ("given", "wanted", "carve", "note"),
    [
        ("train valid test", "train val test", False, ""),
        ("train val val", "train test test", True, "`val` is used as the test split"),
        ("train train test", "train train test", True, "no validation split"),
        ("train - test", "train - test", False, "1 examples name no split"),
        ("train val -", "train val -", False, "1 examples name no split"),
        ("- - -", "- - -", False, ""),
    ],
)
def test_splits_follow_the_rule_of_folders(
    folder: Path, given: str, wanted: str, carve: bool, note: str
):
    names = ["a/1.png", "a/2.png", "b/3.png"]
    lines = zip(names, given.replace("-", "").split(" "), strict=True)
    text = "path,split\n" + "".join(f"{a},{b}\n" for a, b in lines)
    dataset = load_dataset(write_text(folder, text))
    assert [item.split or "-" for item in dataset.items] == wanted.split()
    assert dataset.carve_val is carve
    assert note in " ".join(dataset.notes[2:])


def test_one_split_alone_is_refused(folder: Path):
    message = refuse(write_text(folder, "path,split\na/1.png,test\n"))
    assert "of the splits it names test only" in message


def test_groups_never_span_splits(folder: Path):
    lines = []
    for i in range(60):
        (folder / f"{i}.png").write_bytes(b"%d" % i)
        lines.append(f"{i}.png,{i // 6}\n")
    dataset = load_dataset(write_text(folder, "path,group\n" + "".join(lines)))
    contents = digest_items(dataset, None)
    examples = make_examples(dataset, contents, val_size=0.3, test_size=0.3)
    pairs = set(zip(examples.groups, examples.splits, strict=True))
    assert len(pairs) == 10 and len({split for _, split in pairs}) > 1


def test_groups_that_the_table_itself_tears_apart_are_noted(folder: Path):
    text = "path,group,split\na/1.png,g,train\na/2.png,g,test\nb/3.png,h,val\n"
    dataset = load_dataset(write_text(folder, text))
    assert any("1 of 2 groups are not in one split alone" in n for n in dataset.notes)
    assert [item.split for item in dataset.items] == ["train", "test", "val"]


def test_targets_keep_their_text(folder: Path):
    text = "path,target\na/1.png,3\na/2.png,03\nb/3.png,NA\nb/4.png,\n"
    dataset = load_dataset(write_text(folder, text))
    assert [item.target for item in dataset.items] == ["3", "03", "NA", None]


def test_numbers_in_csv_keep_their_zeros_and_points(folder: Path):
    text = "path,target,group\na/1.png,03,1.0\na/2.png,10,2.50\n"
    dataset = load_dataset(write_text(folder, text))
    assert [(i.target, i.group) for i in dataset.items] == [
        ("03", "1.0"),
        ("10", "2.50"),
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([3, 10], ["3", "10"]),
        ([3, None], ["3", None]),
        ([3.0, None], ["3", None]),  # as pandas keeps whole numbers beside missing ones
        ([True, False], ["true", "false"]),
        (["2020-01-01", "2020-01-02 10:00:00"], ["2020-01-01", "2020-01-02 10:00:00"]),
        (["", "x"], [None, "x"]),
        ([None, None], [None, None]),
    ],
)
def test_typed_values_become_text(folder: Path, suffix: str, values: list, texts: list):
    rows = [
        {"path": path, "target": value}
        for path, value in zip(["a/1.png", "a/2.png"], values, strict=True)
    ]
    dataset = load_dataset(write_table(folder / f"t{suffix}", rows))
    assert [item.target for item in dataset.items] == texts


def test_parquets_dictionaries_and_large_texts_are_texts(folder: Path):
    target = pa.array(["x", None, "x", "y"]).dictionary_encode()
    path = pa.array([row["path"] for row in ROWS], pa.large_string())
    pq.write_table(pa.table({"path": path, "target": target}), folder / "t.parquet")
    dataset = load_dataset(folder / "t.parquet")
    assert [item.target for item in dataset.items] == ["x", None, "x", "y"]


def test_fractions_are_targets_and_no_ids_and_lists_are_neither(folder: Path):
    rows = [{"path": "a/1.png", "target": 0.5, "id": 0.5, "group": [1]}]
    message = refuse(write_table(folder / "t.parquet", rows))
    assert "1 row whose 'id' is no whole number: row 1 '0.5'" in message
    assert "the column 'group' holds list<" in message
    rows = [{"path": "a/1.png", "target": 0.1}, {"path": "a/2.png", "target": 3.0}]
    dataset = load_dataset(write_table(folder / "t.parquet", rows))
    assert [item.target for item in dataset.items] == ["0.1", "3"]
    rows[0]["target"] = float("inf")
    message = refuse(write_table(folder / "t.parquet", rows))
    assert "'target' is no finite number: row 1 'inf'" in message


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_several_targets_and_further_columns_are_kept_by_name(
    folder: Path, suffix: str
):
    rows = [
        {"path": "a/2.png", "wing": 1, "leg": 0, "w": 0.5, "camera": "north"},
        {"path": "a/1.png", "wing": 0, "leg": None, "w": 2.0, "camera": None},
    ]
    path = write_table(folder / f"t{suffix}", rows)
    dataset = load_dataset(path, targets=["wing", "leg"], keep=["w", "camera"])
    assert dataset.column_names == ("wing", "leg", "w", "camera")
    first, second = dataset.items
    assert (first.id, first.target) == ("a/1.png", "0, ")
    assert first.columns[:2] == ("0", None) and first.columns[3] is None
    assert float(first.columns[2] or "") == 2
    assert second.columns == ("1", "0", "0.5", "north")
    with pytest.raises(DatasetError, match="no column 'cam' .* did you mean 'camera'"):
        load_dataset(path, keep=["cam"])


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_byte_order_marks_and_line_ends_change_nothing(
    folder: Path, mark: bytes, end: bytes, suffix: str
):
    lines = [b"path,target", b"a/1.png,x", b"a/2.png,y", b""]
    if suffix == ".jsonl":
        lines = [b'{"path":"a/1.png","target":"x"}', b'{"path":"a/2.png","target":"y"}']
    dataset = load_dataset(write_text(folder, mark + end.join(lines), suffix))
    assert [i[:2] for i in rows_of(dataset)] == [("a/1.png", "x"), ("a/2.png", "y")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "it is empty"),
        (b" \n\n", "it is empty"),
        (b"path,target\n", "it has no rows"),
        (b"path;target\na/1.png;x\n", "separated by semicolons"),
        (b"path\ttarget\na/1.png\tx\n", "separated by tabs"),
        ("path\na\n".encode("utf-16"), "it is in UTF-16; save it as UTF-8"),
        (b"path,target\na/1.png,\xe9\na/2.png,x\n", "'target' is no UTF-8: row 1"),
        (b"p\xe9th,path\nx,a/1.png\n", "codec can't decode byte 0xe9"),
        (b'path,target\na/1.png,"x\na/2.png,y\n', "a quote is opened and not closed"),
        (b"path,target\na/1.png\na/2.png,x\n,,,\n", "row 1 with 1, row 3 with 4"),
        (b"path\n" + b"x" * 20_000 + b"\n", "longer than 10,000 characters: row 1 'xx"),
        (b"path,x\na/1.png," + b"x" * 100_000_000, "straddling object"),
    ],
)
def test_a_csv_that_is_none_says_what_is_wrong(folder: Path, text: bytes, words: str):
    message = refuse(write_text(folder, text))
    assert words in message and len(message) < 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"path":"a/1.png"}\n{"path":3}\n', "from string to number in row 1"),
        (b'{"path":"a/1.png","path":"b"}\n', "specified twice"),
        (b"[1]\n", "changed from object to array"),
        (b'{"%s":1}\n{"%s":""}\n' % ((b"x" * 5000,) * 2), "Column(/xxx"),
        (b'{"path":"\xff"}\n', "'path' is no UTF-8: row 1"),
        (b"{}\n{}\n", "no column 'path' or 'image' or 'audio' or 'file'"),
        (b'{"path":"a/1.png"', "JSON parse error"),
        (
            b'{"path":"a"}\n{"x":' + b"[" * 10**6 + b"\n",
            "line 2 nests lists",
        ),
    ],
)
def test_a_jsonl_that_is_none_says_what_is_wrong(folder: Path, text: bytes, words: str):
    message = refuse(write_text(folder, text, ".jsonl"))
    assert words in message and len(message) < 1000


def test_a_parquet_that_declares_too_much_is_not_read(folder: Path, monkeypatch):
    path = write_table(folder / "t.parquet", ROWS)
    monkeypatch.setattr("tl_pipeline.data.table_files.MAX_ROWS", 3)
    assert "it declares 4 rows of" in refuse(path)


def test_a_parquet_that_is_none_says_so(folder: Path):
    assert "cannot be read" in refuse(write_text(folder, b"PAR1PAR1", ".parquet"))


def test_columns_of_what_has_none_are_refused(folder: Path):
    for source in (folder, "builtin:digits"):
        with pytest.raises(DatasetError, match="with the columns target: only a table"):
            load_dataset(source, columns={"target": "x"})


def test_missing_classes_of_a_split_are_noted(folder: Path):
    dataset = load_dataset(write_table(folder / "t.csv", ROWS))
    assert "Split test has no examples of dog." in dataset.notes
    unlabeled = load_dataset(write_text(folder, "path\na/1.png\n"))
    assert "No target column: all examples are unlabeled." in unlabeled.notes
