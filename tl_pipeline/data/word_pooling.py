"""Texts as vectors of their words, pooled: looked up one by one in a table.

A text's words are its runs of letters, digits and underscores, with apostrophes inside;
marks are none. A word that the table lacks counts in no pooling but is counted.
"""

import re
from typing import NamedTuple

import numpy as np

from tl_pipeline.data.tokenizing import HARD_TEXTS
from tl_pipeline.digest import json_digest
from tl_pipeline.preprocess import FoundWord, VectorPreprocess

_WORD = re.compile(r"\w+(?:['’]\w+)*")


class PooledWords(NamedTuple):
    """The words of a text, pooled.

    Attributes:
      vectors: float32 [3, D], one row each of `WORD_POOLINGS`; zeros where no word was
        found.
      words: How many words the text has.
      unknown: How many of them the table lacks.
    """

    vectors: np.ndarray
    words: int
    unknown: int


def pool_words(text: str, preprocess: VectorPreprocess) -> PooledWords:
    """Looks the words of a text up and pools their vectors in three ways.

    `mean` and `max` are over the words found. `sif` is the mean after weighting each by
    smoothing / (smoothing + probability); the common component that its authors take
    away is one of a dataset, not of a text, and a head can take it away as well.

    Reference:
      Arora et al. 2017, https://openreview.net/forum?id=SyK00v5xx
    """
    assert preprocess.table is not None, "words are looked up with weights alone"
    words = _WORD.findall(text)
    found = _look_up(words, preprocess)
    pooled = np.zeros(preprocess.input_shape, np.float32)
    if found:
        vectors = np.stack([one.vector for one in found]).astype(np.float64)
        chances = np.array([one.probability for one in found])
        weights = preprocess.smoothing / (preprocess.smoothing + chances)
        pooled[0] = vectors.mean(axis=0)
        pooled[1] = (vectors * weights[:, None]).mean(axis=0)
        pooled[2] = vectors.max(axis=0)
    return PooledWords(pooled, len(words), len(words) - len(found))


def words_fingerprint(preprocess: VectorPreprocess) -> str:
    """Returns the SHA-256 of the words that `HARD_TEXTS` are taken apart into."""
    return json_digest({name: _WORD.findall(t) for name, t in HARD_TEXTS.items()})


def _look_up(words: list[str], preprocess: VectorPreprocess) -> list[FoundWord]:
    assert preprocess.table is not None
    known = {word: preprocess.table.find(word) for word in set(words)}
    return [one for word in words if (one := known[word]) is not None]
