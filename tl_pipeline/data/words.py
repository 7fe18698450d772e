"""Texts as bags of words: which words and pairs of words they hold, hashed. No weights.

Every word has its place by a checksum of it, so that no vocabulary is learned, and a
text's bag does not depend on others. Words that share a place are told apart in part:
each adds or takes away, by another bit of the checksum.
"""

import itertools
import math
import re
import zlib
from collections import Counter

import numpy as np

from tl_pipeline.arrays import array_digest
from tl_pipeline.data.tokenizing import HARD_TEXTS
from tl_pipeline.preprocess import BagPreprocess

_WORD = re.compile(r"\w+")


def count_words(text: str, preprocess: BagPreprocess) -> np.ndarray:
    """Counts the words of a text, and its pairs of neighboring words.

    Counts count by 1 + log, as a word said twice says little more; the bag has length 1
    unless it is empty.

    Args:
      text: The text.
      preprocess: How many places there are.

    Returns:
      [D] float32.

    Reference:
      Weinberger et al. 2009, https://arxiv.org/abs/0902.2206 (hashing with signs)
    """
    words = _WORD.findall(text.casefold())
    counts = Counter(itertools.chain(words, map(" ".join, itertools.pairwise(words))))
    bag = np.zeros(preprocess.size, np.float32)
    for word, n in counts.items():
        checksum = zlib.crc32(word.encode())
        sign = 1 if checksum & 1 else -1
        bag[(checksum >> 1) % preprocess.size] += sign * (1 + math.log(n))
    return bag / (np.linalg.norm(bag) or 1)


def bag_fingerprint(preprocess: BagPreprocess) -> str:
    """Returns the SHA-256 of the bags of `HARD_TEXTS`."""
    bags = {name: count_words(text, preprocess) for name, text in HARD_TEXTS.items()}
    # Which places are taken: the last bit of a logarithm is no other bag.
    return array_digest({name: np.flatnonzero(bag) for name, bag in bags.items()})
