"""Gray of more than 8 bits, where all of them are asked for."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tl_pipeline.data.decoding import decode_image

sys.path.append(str(Path(__file__).parent))

from test_decoding_matrix import (  # noqa: E402
    GRAY,
    GRAY_16,
    RGB_16,
    chunk,
    decode,
    make_png,
    make_tiff,
)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (make_png(GRAY_16, 0, interlaced=False), GRAY_16),
        (make_tiff(GRAY_16, 1), GRAY_16),
        (make_tiff(GRAY_16, 0), 65535 - GRAY_16),
        (make_tiff(GRAY_16 >> 4, 1, bits=12), np.rint((GRAY_16 >> 4) * (65535 / 4095))),
    ],
)
def test_gray_of_more_than_8_bits_keeps_them_where_they_are_asked_for(data, shown):
    deep = decode_image(data, deep=True)
    assert deep.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(deep), shown)
    np.testing.assert_array_equal(decode(data), np.asarray(deep) >> 8)


@pytest.mark.parametrize(
    ("data", "mode"), [(make_tiff(GRAY, 1), "L"), (make_tiff(RGB_16, 2), "RGB")]
)
def test_of_what_else_a_deep_image_has_8_bits(data, mode):
    deep = decode_image(data, deep=True)
    assert deep.mode == mode
    np.testing.assert_array_equal(np.asarray(deep), decode(data))


def test_the_transparent_gray_of_16_bits_is_white_in_a_deep_image_too():
    value = int(GRAY_16[3, 4])
    more = chunk(b"tRNS", value.to_bytes(2, "big"))
    data = make_png(GRAY_16, 0, interlaced=False, more=more)
    expected = np.where(GRAY_16 == value, 65535, GRAY_16)
    np.testing.assert_array_equal(decode_image(data, deep=True), expected)
