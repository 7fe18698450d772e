import numpy as np
import pytest

from tl_pipeline.data.preparing import fingerprint, prepare
from tl_pipeline.data.word_pooling import pool_words
from tl_pipeline.preprocess import FoundWord, VectorPreprocess


class Table:
    """A few words; each is of the probability that its second value says."""

    def __init__(self, **words: tuple[float, float]):
        self.words = words

    def find(self, word: str) -> FoundWord | None:
        values = self.words.get(word)
        return FoundWord(np.array(values, np.float32), values[1]) if values else None


PREPROCESS = VectorPreprocess(2, 0.001, Table(a=(4, 0.003), b=(-2, 0.001), c=(1, 0)))


def test_words_are_pooled_in_three_ways() -> None:
    pooled = pool_words("a, b b!", PREPROCESS)
    mean, sif, largest = pooled.vectors
    np.testing.assert_allclose(mean, [0, 0.005 / 3], atol=1e-9)
    # Weights are 0.001 / (0.001 + probability): 1/4, 1/2 and 1/2.
    np.testing.assert_allclose(sif, [(1 - 1 - 1) / 3, (0.00075 + 0.001) / 3])
    np.testing.assert_allclose(largest, [4, 0.003])
    assert (pooled.words, pooled.unknown) == (3, 0)


def test_unknown_words_are_counted_and_count_for_nothing() -> None:
    pooled = pool_words("a zzz c yyy", PREPROCESS)
    assert (pooled.words, pooled.unknown) == (4, 2)
    np.testing.assert_array_equal(pooled.vectors, pool_words("a c", PREPROCESS).vectors)


def test_a_text_without_a_known_word_is_zeros() -> None:
    pooled = pool_words("?! zzz", PREPROCESS)
    assert pooled.vectors.dtype == np.float32
    assert not pooled.vectors.any()
    assert (pooled.words, pooled.unknown) == (1, 1)


def test_marks_are_no_words_and_apostrophes_inside_are_kept() -> None:
    table = Table(**{"don't": (1, 0), "naïve": (2, 0), "東京": (3, 0), "l’eau": (4, 0)})
    pooled = pool_words(
        "'don't' (naïve) 東京。 l’eau...", VectorPreprocess(2, 0.5, table)
    )
    assert (pooled.words, pooled.unknown) == (4, 0)


def test_an_input_says_how_many_words_were_not_found() -> None:
    prepared = prepare("a zzz", PREPROCESS)
    assert prepared.input.shape == PREPROCESS.input_shape
    assert (prepared.words, prepared.unknown, prepared.is_cut) == (2, 1, False)


def test_the_fingerprint_is_of_the_words_and_not_of_the_table() -> None:
    other = VectorPreprocess(300, 0.1, None)
    assert fingerprint(other) == fingerprint(PREPROCESS)


def test_words_are_not_looked_up_without_a_table() -> None:
    with pytest.raises(AssertionError, match="weights"):
        pool_words("a", VectorPreprocess(2, 0.1, None))
