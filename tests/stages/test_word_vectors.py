"""Word vectors through the whole pipeline, from a table with texts to a head."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

import tl_pipeline as tl
from tl_pipeline.cli.app import run_command
from tl_pipeline.errors import BackboneError, WeightsError

ANIMALS, TOOLS = ("cat", "dog", "horse", "cow"), ("saw", "hammer", "drill", "file")
SIZE = 6


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Words of a kind lie close together."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    lines = []
    for sign, words in ((1, ANIMALS), (-1, TOOLS), (0, ("the", "a", "sees"))):
        for word in words:
            values = sign + 0.3 * rng.normal(size=SIZE)
            lines.append(f"{word} {' '.join(f'{value:.4f}' for value in values)}\n")
    path = tmp_path / "glove.txt"
    path.write_text("".join(lines))
    os.utime(path, (1e9, 1e9))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    path = tmp_path / "sentences.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        for i in range(120):
            kind, words = (("animal", ANIMALS), ("tool", TOOLS))[i % 2]
            first, second = rng.choice(words, 2)
            text = f"The {first} sees a {second}, unseen{i}."
            writer.writerow([f"row-{i:03}", text, kind])
    return path


def extract(table: Path, vectors: Path, root: Path, **options) -> tl.extract:
    return tl.extract(
        tl.load_dataset(table),
        tl.load_backbone("word_vectors", weights=vectors, **options),
        features=("mean", "sif", "max"),
        store_root=root,
    )


def test_a_head_on_word_vectors_tells_sentences_of_animals_from_tools(
    table: Path, vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "pipeline.toml"
    config.write_text(
        f'[data]\nsource = "{table}"\n'
        f'[backbone]\nname = "word_vectors"\nweights = "{vectors}"\n'
        'features = ["mean", "sif"]\n'
        f'[store]\nroot = "{tmp_path / "stores"}"\n'
        f'[run]\nroot = "{tmp_path / "runs"}"\n'
    )
    command = ["run", str(config), "--engine", "local", "--json"]
    assert run_command(command) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found["train"]["test"]["accuracy"]["value"] == 1
    # "The" is found as "the"; one of six words has no vector.
    assert found["extract"]["words"] == 120 * 6
    assert found["extract"]["words_unknown"] == 120
    assert "looked up 720 words: 16.7% unknown" in output.err
    assert run_command(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["extract"]["rows_computed"] == again["extract"]["inputs_opened"] == 0
    assert again["train"]["run"] == found["train"]["run"]

    new = tmp_path / "new.csv"
    new.write_text("id,text\none,a horse\ntwo,the drill\n")
    assert run_command(["predict", found["train"]["run"], str(new), "--json"]) == 0
    predicted = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in predicted] == ["animal", "tool"]


def test_rows_are_the_means_of_the_words(
    table: Path, vectors: Path, tmp_path: Path
) -> None:
    known = {
        line.split()[0]: np.array(line.split()[1:], float)
        for line in vectors.read_text().splitlines()
    }
    report = extract(table, vectors, tmp_path / "stores")
    rows = tl.open_store(report.store).read("mean")
    lines = csv.DictReader(table.read_text().splitlines())
    texts = {row["id"]: row["text"] for row in lines}
    for i in (0, 57):
        words = texts[rows.ids[i]].replace(",", "").replace(".", "").lower().split()
        mean = np.mean([known[word] for word in words if word in known], axis=0)
        np.testing.assert_allclose(rows.features[i], mean, atol=2e-3)


def test_the_same_vectors_in_another_format_share_the_store(
    table: Path, vectors: Path, tmp_path: Path
) -> None:
    lines = vectors.read_text().splitlines()
    other = tmp_path / "w.vec"
    other.write_text(f"{len(lines)} {SIZE}\n" + "\n".join(lines))
    os.utime(other, (1e9, 1e9))
    first = extract(table, vectors, tmp_path / "stores")
    second = extract(table, other, tmp_path / "stores")
    assert second.store == first.store
    assert second.rows_computed == 0
    smoothed = extract(
        table, vectors, tmp_path / "stores", settings={"smoothing": 0.01}
    )
    assert smoothed.store != first.store


def test_what_has_no_vectors_is_refused(vectors: Path) -> None:
    for weights in ("pretrained", "random:0", "hf:owner/name"):
        with pytest.raises(WeightsError, match="name the file"):
            tl.load_backbone("word_vectors", weights=weights)
    with pytest.raises(BackboneError, match="smoothing = 2"):
        tl.load_backbone("word_vectors", weights=vectors, settings={"smoothing": 2})


def test_a_check_of_word_vectors_is_fine(
    vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run_command(["backbone", "check", "word_vectors", "--weights", str(vectors)])
        == 0
    )
    assert "fine" in capsys.readouterr().out


def test_word_vectors_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["backbone", "ls", "--json"]) == 0
    (row,) = (
        row
        for row in json.loads(capsys.readouterr().out)
        if row["name"] == "word_vectors"
    )
    assert row["layouts"] == ["word2vec", "glove", "fasttext"]
    assert run_command(["backbone", "show", "word_vectors"]) == 0
    assert "words looked up" in capsys.readouterr().out
