"""The ledger counts looks at a test split, however its examples come and go."""

from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.errors import RunDamagedError
from tl_pipeline.runs.ledger import Ledger


def content(*numbers: int) -> np.ndarray:
    rows = np.zeros((len(numbers), 32), np.uint8)
    rows[:, 3] = numbers
    return rows


def look(path: Path, *numbers: int, run: str = "r") -> tuple[int, int]:
    """Looks at some examples, with the ledger read anew as each night does."""
    ledger = Ledger(path)
    found = ledger.next_look(content(*numbers))
    ledger.record_look(found, {"run": run, "against": "current"})
    return found.split, found.number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "photos.gate.jsonl"


def test_a_test_split_stays_the_same_one_while_examples_come_and_go(path: Path):
    assert look(path, 1, 2, 3) == (1, 1)
    assert look(path, 1, 2, 3) == (1, 2)
    assert look(path, 2, 3, 4) == (1, 3)
    assert look(path, 4, 5, 6) == (1, 4)  # shares nothing with the first one by now
    assert look(path, 6) == (1, 5)


def test_only_examples_that_were_never_looked_at_are_a_new_split(path: Path):
    assert look(path, 1, 2) == (1, 1)
    assert look(path, 11, 12) == (2, 1)
    assert look(path, 11) == (2, 2)
    assert look(path, 1) == (1, 2)
    assert look(path, 21) == (3, 1)


def test_no_two_looks_have_the_same_numbers_even_where_splits_meet(path: Path):
    rng = np.random.default_rng(0)
    looks = [look(path, *rng.integers(0, 60, 2).tolist()) for _ in range(150)]
    assert len(set(looks)) == len(looks)
    assert len({split for split, _ in looks}) > 5
    joined = look(path, *range(60))
    assert joined[0] == 1
    assert joined[1] > len(looks)


def test_asking_which_look_it_would_be_counts_nothing(path: Path):
    for _ in range(3):
        assert Ledger(path).next_look(content(1)).number == 1
    assert not path.exists()


def test_each_example_is_written_once(path: Path):
    for night in range(5):
        look(path, *range(100 + night))
    assert path.read_text().count('"examples":[]') == 0
    assert look(path, 1) == (1, 6)
    words = path.read_text().split('"')
    assert sum(len(word) == 16 and word.isalnum() for word in words) == 104


def test_the_last_word_about_a_run_is_its_look_or_its_rollback(path: Path):
    look(path, 1, run="a")
    look(path, 1, run="b")
    ledger = Ledger(path)
    assert ledger.last("c") is None
    ledger.record_rollback({"run": "a", "when": "today"})
    found = [Ledger(path).last(name) or {} for name in ("a", "b")]
    assert [row["event"] for row in found] == ["rollback", "look"]
    assert look(path, 1) == (1, 3)


@pytest.mark.parametrize("text", ["{", "[]\n", '{"event":"look"}\n'])
def test_a_ledger_that_cannot_be_read_is_not_begun_anew(path: Path, text: str):
    path.write_text(text)
    with pytest.raises(RunDamagedError, match="how often the test split was looked at"):
        Ledger(path)
