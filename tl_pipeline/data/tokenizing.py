"""Texts become a backbone's input: int32 [T] of token ids on the host.

T is the first of `LENGTHS` that holds the tokens, and -1 stands behind their end. So a
network is compiled for few shapes, and which of them a text has depends on it alone:
not on its neighbors in a batch.
"""

import functools
from collections.abc import Mapping

import numpy as np
from tokenizers import Tokenizer

from tl_pipeline.arrays import array_digest
from tl_pipeline.preprocess import TextPreprocess

PADDING = -1
# Close together where most questions and sentences are: each token of padding costs as
# much as one of text, and each length a compilation of a second or two.
_SHORT = (8, 10, 12, 14, 16, 20, 24)
LENGTHS = (*_SHORT, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

# Each breaks another way of taking texts apart.
HARD_TEXTS: Mapping[str, str] = {
    "accents": "Ünïcödé naïve café cafe\u0301 ÅNGSTRÖM Straße",
    "cjk": "我爱自然语言处理。東京タワー 한국어",
    "controls": "tab\tnew\nline\r\nzero\u200bwidth\x00nul \u00a0hard",
    "digits": "3.14159, 1,000,000 and 2026-11-22T00:00:00Z",
    "emoji": "👩‍👩‍👧‍👦 👍🏽 🇫🇷 ☃️ 💩!",
    "long word": "pneumono" + "ultra" * 30 + "microscopic",
    "marks": 'don\'t [UNK] <s> </s> [SEP] ... -- "quoted" e-mail@example.com #tag',
    "scripts": "Привет, мир! שלום العربية हिन्दी ไทย Ελληνικά",
    "spaces": "   two  spaces \t around   ",
}


def encode_text(text: str, preprocess: TextPreprocess) -> tuple[np.ndarray, bool]:
    """Tokenizes a text and cuts it at the longest length.

    Args:
      text: The text.
      preprocess: What the backbone wants.

    Returns:
      [T] int32, and whether something was cut off.
    """
    encoding = _load_tokenizer(preprocess).encode(text)
    ids = encoding.ids
    length = next((n for n in LENGTHS if n >= len(ids)), len(ids))
    padded = np.full(min(length, preprocess.max_length), PADDING, np.int32)
    padded[: len(ids)] = ids
    return padded, bool(encoding.overflowing)


def text_fingerprint(preprocess: TextPreprocess) -> str:
    """Returns the SHA-256 of `HARD_TEXTS` after preprocessing.

    A library that changes tokens changes it, a harmless upgrade does not.
    """
    encoded = {name: encode_text(text, preprocess) for name, text in HARD_TEXTS.items()}
    return array_digest({name: ids[ids >= 0] for name, (ids, _) in encoded.items()})


def encode_hard_texts(preprocess: TextPreprocess) -> np.ndarray:
    """Returns `HARD_TEXTS` as one batch of inputs, [B, T] of the longest one's T."""
    rows = [encode_text(text, preprocess)[0] for text in HARD_TEXTS.values()]
    longest = max(map(len, rows))
    padded = [np.pad(r, (0, longest - len(r)), constant_values=PADDING) for r in rows]
    return np.stack(padded)


@functools.lru_cache(maxsize=4)
def _load_tokenizer(preprocess: TextPreprocess) -> Tokenizer:
    tokenizer = Tokenizer.from_str(preprocess.content)
    tokenizer.no_padding()
    tokenizer.enable_truncation(preprocess.max_length)
    return tokenizer
