"""Bytes become inputs: the one place where a kind of preprocessing finds its functions.

A preprocessing names its decoder, whose result serves every preprocessing that names
the same one; by its type it finds what makes an input of that.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tl_pipeline.data.decoding import decode_image
from tl_pipeline.data.front_ends import audio_fingerprint, prepare_recording
from tl_pipeline.data.preprocessing import preprocess_image, preprocessing_fingerprint
from tl_pipeline.data.recordings import decode_recording
from tl_pipeline.data.texts import decode_text
from tl_pipeline.data.tokenizing import encode_text, text_fingerprint
from tl_pipeline.data.word_pooling import pool_words, words_fingerprint
from tl_pipeline.data.words import bag_fingerprint, count_words
from tl_pipeline.preprocess import (
    DEEP,
    SOUNDFILE,
    UTF8,
    AudioPreprocess,
    BagPreprocess,
    ImagePreprocess,
    Preprocess,
    TextPreprocess,
    VectorPreprocess,
)


class Prepared(NamedTuple):
    """An input, [H, W, C], [T] or [D], of its preprocessing's dtype.

    Of a recording it is all of its windows: [W, T, D] or [W, T].

    Attributes:
      input: The array.
      is_cut: Whether the end of what it is of was cut off.
      words: How many words were looked up, where words are.
      unknown: How many of them were not found.
    """

    input: np.ndarray
    is_cut: bool = False
    words: int = 0
    unknown: int = 0


_DECODERS: Mapping[str, Callable[[bytes], Any]] = {
    "pillow": decode_image,
    DEEP: functools.partial(decode_image, deep=True),
    UTF8: decode_text,
    SOUNDFILE: decode_recording,
}


def _pool(text: str, preprocess: VectorPreprocess) -> Prepared:
    pooled = pool_words(text, preprocess)
    return Prepared(pooled.vectors, words=pooled.words, unknown=pooled.unknown)


class _Functions(NamedTuple):
    prepare: Callable[[Any, Any], Prepared]
    fingerprint: Callable[[Any], str]


_FUNCTIONS: Mapping[type, _Functions] = {
    ImagePreprocess: _Functions(
        lambda image, preprocess: Prepared(preprocess_image(image, preprocess)),
        preprocessing_fingerprint,
    ),
    TextPreprocess: _Functions(
        lambda text, preprocess: Prepared(*encode_text(text, preprocess)),
        text_fingerprint,
    ),
    BagPreprocess: _Functions(
        lambda text, preprocess: Prepared(count_words(text, preprocess)),
        bag_fingerprint,
    ),
    VectorPreprocess: _Functions(
        _pool,
        words_fingerprint,
    ),
    AudioPreprocess: _Functions(
        lambda recording, preprocess: Prepared(
            *prepare_recording(recording, preprocess)
        ),
        audio_fingerprint,
    ),
}


def decode(data: bytes, decoder: str) -> Any:
    """Decodes an example's bytes.

    Args:
      data: The bytes.
      decoder: Of `Preprocess.decoder`.

    Raises:
      DecodeError: The bytes are no such thing.
    """
    return _DECODERS[decoder](data)


def prepare(decoded: Any, preprocess: Preprocess) -> Prepared:
    """Makes an input of what `decode` returned for the preprocessing's decoder.

    Raises:
      DecodeError: It cannot be made one.
    """
    return _FUNCTIONS[type(preprocess)].prepare(decoded, preprocess)


def fingerprint(preprocess: Preprocess) -> str:
    """Returns the SHA-256 of a few packaged examples after preprocessing."""
    return _FUNCTIONS[type(preprocess)].fingerprint(preprocess)
