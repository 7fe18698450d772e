"""Word vectors against gensim, which writes the files and says what is in them."""

import gzip
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from gensim.models import FastText, KeyedVectors
from gensim.models.fasttext import load_facebook_vectors, save_facebook_model

from tl_pipeline.errors import WeightsError
from tl_pipeline.progress import NoProgress
from tl_pipeline.weights import word_vectors
from tl_pipeline.weights.word_vectors import WordVectors, open_word_vectors

SIZE = 12
WORDS = ("the", "cat", "Paris", "naïve", "東京", "don't", "x" * 200, "\u00a0", "0.5")
UNSEEN = ("unseen", "Katze", "🙂🙂", "ab", "q")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "caches"


@pytest.fixture(scope="session", params=[(3, 6), (1, 2)])
def fasttext_file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Trained on few sentences, with buckets so few that parts share them."""
    min_n, max_n = request.param
    path = tmp_path_factory.mktemp("fasttext") / "model.bin"
    sentences = [list(WORDS), list(reversed(WORDS)), ["cat", "cat", "the"]] * 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = FastText(
            sentences,
            vector_size=SIZE,
            min_count=1,
            min_n=min_n,
            max_n=max_n,
            bucket=50,
            seed=3,
            workers=1,
        )
        save_facebook_model(model, str(path))
    return settle(path)


@pytest.fixture
def vectors() -> KeyedVectors:
    known = KeyedVectors(SIZE)
    values = np.random.default_rng(0).normal(size=(len(WORDS), SIZE))
    known.add_vectors(list(WORDS), values.astype(np.float32))
    return known


def settle(path: Path) -> Path:
    """Lets a file look old, so that opening it need not wait for it to settle."""
    os.utime(path, (1e9, 1e9))
    return path


def save(vectors: KeyedVectors, path: Path, **options: bool) -> Path:
    vectors.save_word2vec_format(str(path), **options)
    return settle(path)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return settle(path)


def assert_holds(opened: WordVectors, vectors: KeyedVectors) -> None:
    for word in WORDS:
        found = opened.find(word)
        assert found is not None
        np.testing.assert_array_equal(found.vector, vectors[word])
    assert [word for word in UNSEEN if opened.find(word) is not None] == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("w.vec", {}),
        ("w.bin", {"binary": True}),
        ("glove.txt", {"write_header": False}),
    ],
)
def test_a_file_holds_what_gensim_wrote(
    name: str, options: dict[str, bool], vectors: KeyedVectors, tmp_path: Path
) -> None:
    opened = open_word_vectors(save(vectors, tmp_path / name, **options))
    assert_holds(opened, vectors)
    assert (opened.n_words, opened.size, opened.n_repeated) == (len(WORDS), SIZE, 0)


def test_the_same_vectors_have_the_same_digest_in_every_format(
    vectors: KeyedVectors, tmp_path: Path
) -> None:
    text = save(vectors, tmp_path / "w.vec")
    binary = save(vectors, tmp_path / "w.bin", binary=True)
    packed = write(tmp_path / "w.vec.gz", gzip.compress(text.read_bytes()))
    opened = [open_word_vectors(path) for path in (text, binary, packed)]
    assert len({one.digest for one in opened}) == 1
    assert len({one.sha256 for one in opened}) == 3
    assert_holds(opened[2], vectors)


def test_another_value_or_word_is_another_digest(tmp_path: Path) -> None:
    texts = [b"a 1 2\nb 3 4\n", b"a 1 2\nb 3 5\n", b"a 1 2\nc 3 4\n"]
    files = [write(tmp_path / f"{i}.txt", text) for i, text in enumerate(texts)]
    assert len({open_word_vectors(file).digest for file in files}) == 3


def test_fasttext_gives_words_and_unseen_words_the_vectors_of_gensim(
    fasttext_file: Path,
) -> None:
    reference = load_facebook_vectors(str(fasttext_file))
    opened = open_word_vectors(fasttext_file)
    assert opened.file_format == "fasttext-bin"
    for word in (*WORDS, *UNSEEN):
        found = opened.find(word)
        assert found is not None
        np.testing.assert_allclose(found.vector, reference[word], rtol=0, atol=1e-6)


def test_fasttext_knows_how_frequent_its_words_are(fasttext_file: Path) -> None:
    opened = open_word_vectors(fasttext_file)
    cat, the, unseen = (opened.find(word) for word in ("cat", "the", "unseen"))
    assert cat and the and unseen
    # 5 times 4 of 5 times 21 words, and 5 times 3 of them.
    assert cat.probability == pytest.approx(20 / 105)
    assert the.probability == pytest.approx(15 / 105)
    assert unseen.probability == 0


def test_words_of_files_without_counts_are_as_frequent_as_zipf_says(
    vectors: KeyedVectors, tmp_path: Path
) -> None:
    opened = open_word_vectors(save(vectors, tmp_path / "w.vec"))
    first, third = opened.find(WORDS[0]), opened.find(WORDS[2])
    assert first and third
    assert first.probability == pytest.approx(3 * third.probability)
    assert 0 < first.probability < 1


def test_a_word_that_is_there_in_lower_case_alone_is_found(tmp_path: Path) -> None:
    opened = open_word_vectors(write(tmp_path / "w.txt", b"the 1 2\nUS 3 4\nus 5 6\n"))
    found = {word: opened.find(word) for word in ("The", "US", "us", "Us", "USA")}
    assert {w: f and f.vector.tolist() for w, f in found.items()} == {
        "The": [1, 2],
        "US": [3, 4],
        "us": [5, 6],
        "Us": [5, 6],
        "USA": None,
    }


def test_of_a_repeated_word_the_first_row_counts(tmp_path: Path) -> None:
    opened = open_word_vectors(write(tmp_path / "w.txt", b"a 1 2\nb 3 4\na 5 6\n"))
    found = opened.find("a")
    assert found and found.vector.tolist() == [1, 2]
    assert opened.n_repeated == 1


def test_words_with_spaces_are_words(tmp_path: Path) -> None:
    # As in GloVe's file of 840 billion tokens.
    file = write(tmp_path / "w.txt", b"a 1 2.5\n. . . 3 4\nat name@domain.com 5 6\n")
    opened = open_word_vectors(file)
    assert opened.size == 2
    found = opened.find(". . .")
    assert found and found.vector.tolist() == [3, 4]


def test_rows_of_a_binary_file_may_end_in_newlines(tmp_path: Path) -> None:
    # As word2vec's own program writes them, and gensim does not.
    rows = [b"a " + np.float32([1, 2]).tobytes(), b"b " + np.float32([3, 4]).tobytes()]
    file = write(tmp_path / "w.bin", b"2 2\n" + b"".join(row + b"\n" for row in rows))
    opened = open_word_vectors(file)
    found = [opened.find(word) for word in ("a", "b", "\nb")]
    assert [f and f.vector.tolist() for f in found] == [[1, 2], [3, 4], None]


def test_words_of_one_hash_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_vectors, "_hash", lambda word: 7)
    opened = open_word_vectors(write(tmp_path / "w.txt", b"a 1 2\nb 3 4\nc 5 6\n"))
    found = [opened.find(word) for word in "abcd"]
    assert [f and f.vector.tolist() for f in found] == [[1, 2], [3, 4], [5, 6], None]


def test_many_words_are_all_found(tmp_path: Path) -> None:
    lines = [f"w{i} {i} {-i}\n" for i in range(10_000)]
    opened = open_word_vectors(write(tmp_path / "w.txt", "".join(lines).encode()))
    for i in (0, 4095, 4096, 8191, 8192, 9999):
        found = opened.find(f"w{i}")
        assert found and found.vector.tolist() == [i, -i]
    assert opened.find("w10000") is None


class Told(NoProgress):
    """Counts what was begun, and what is open of it."""

    begun = done = total = 0

    def start(self, what: str, total: int) -> None:
        assert what == "index"
        self.begun += 1
        self.done, self.total = 0, total

    def advance(self, n: int) -> None:
        assert n >= 0
        self.done += n

    def finish(self) -> None:
        assert self.done == self.total


def test_each_mebibyte_is_told(fasttext_file: Path, tmp_path: Path) -> None:
    told = Told()
    open_word_vectors(fasttext_file, progress=told)
    lines = b"".join(b"w%d %s\n" % (i, b" ".join([b"0.125"] * 99)) for i in range(5000))
    open_word_vectors(write(tmp_path / "w.txt", lines), progress=told)
    assert told.begun == 2 and told.total == told.done == len(lines) // 2**20 == 2


def test_a_file_is_gone_through_once(vectors: KeyedVectors, tmp_path: Path) -> None:
    told = Told()
    file = save(vectors, tmp_path / "w.vec")
    first = open_word_vectors(file, progress=told)
    again = open_word_vectors(file, progress=told)
    assert told.begun == 1
    assert first.digest == again.digest
    assert_holds(again, vectors)
    write(file, b"a 1 2\n")
    assert open_word_vectors(file, progress=told).n_words == 1
    assert told.begun == 2
    write(file, b"b 1 2\n")  # as long, and as old
    assert open_word_vectors(file, progress=told).find("a") is None
    assert told.begun == 3


def test_an_index_that_was_left_unfinished_is_made_anew(
    vectors: KeyedVectors, tmp_path: Path, caches: Path
) -> None:
    file = save(vectors, tmp_path / "w.vec")
    open_word_vectors(file)
    (facts,) = caches.rglob("facts.json")
    facts.unlink()
    unfinished = facts.parent.with_suffix(".tmp")
    unfinished.mkdir()
    (unfinished / "words").write_bytes(b"of another time")
    assert_holds(open_word_vectors(file), vectors)
    assert not unfinished.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "ZIP archive: unpack"),
        (b"\x89PNG\r\n\x1a\n", "neither a word and its values"),
        (b"just words\nand words\n", "neither a word and its values"),
        (b"2 2\na 1 2\nb 3\n", "broken line 3: 1 values"),
        (b"a 1 2\nb 3 x\n", "broken line 2: 'x'"),
        (b"a 1 2\n" * 5000 + b"b 3 oops\n", "broken line 5,001: 'oops'"),
        (b"a 1 2\nb 3 nan\n", "'b' that are not finite"),
        (b"a 1 2\nb 1e39 1\n", "'b' that are not finite"),
        (b"3 2\na 1 2\nb 3 4\n", "of 3 words, and have 2"),
        (b"1 2\na 1 2\nb 3 4\n", "of 1 words, and have 2"),
        (b"0 2\n", "hold no words"),
        (gzip.compress(b"a 1 2\n" * 99)[:-9], "cannot be read"),
    ],
)
def test_a_broken_file_is_refused_in_a_sentence(
    data: bytes, said: str, tmp_path: Path, caches: Path
) -> None:
    with pytest.raises(WeightsError, match=said) as error:
        open_word_vectors(write(tmp_path / "broken.txt", data))
    assert "broken.txt" in str(error.value)
    assert list(caches.rglob("facts.json")) == []


def test_a_binary_file_cut_anywhere_is_refused(
    vectors: KeyedVectors, tmp_path: Path
) -> None:
    whole = save(vectors, tmp_path / "w.bin", binary=True).read_bytes()
    for end in range(1, len(whole), 37):
        with pytest.raises(WeightsError, match="cut.bin"):
            open_word_vectors(write(tmp_path / "cut.bin", whole[:end]))


def test_fasttext_cut_anywhere_is_refused(fasttext_file: Path, tmp_path: Path) -> None:
    whole = fasttext_file.read_bytes()
    # Behind the matrix of words stands that of contexts, which is of no use here.
    opened = open_word_vectors(fasttext_file)
    offset = whole.index(struct.pack("<?2q", False, len(WORDS) + 50, SIZE)) + 17
    needed = offset + 4 * SIZE * (opened.n_words + 50)
    for end in (*range(4, needed, 61), needed - 1):
        with pytest.raises(WeightsError, match="cut.bin"):
            open_word_vectors(write(tmp_path / "cut.bin", whole[:end]))
    found = open_word_vectors(write(tmp_path / "cut.bin", whole[:needed])).find("cat")
    expected = opened.find("cat")
    assert found and expected
    np.testing.assert_array_equal(found.vector, expected.vector)


def test_quantized_and_unknown_versions_are_refused(
    fasttext_file: Path, tmp_path: Path
) -> None:
    whole = bytearray(fasttext_file.read_bytes())
    quantized = bytearray(whole)
    quantized[whole.index(struct.pack("<?2q", False, len(WORDS) + 50, SIZE))] = 1
    with pytest.raises(WeightsError, match="quantized"):
        open_word_vectors(write(tmp_path / "q.bin", bytes(quantized)))
    whole[4:8] = struct.pack("<i", 99)
    with pytest.raises(WeightsError, match="version 99"):
        open_word_vectors(write(tmp_path / "v.bin", bytes(whole)))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nix\.bin cannot be read"):
        open_word_vectors(tmp_path / "nix.bin")
