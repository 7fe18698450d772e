"""DICOM files written here, against the values that their headers say they show."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tl_pipeline.data.decoding import DecodeError, decode_image

sys.path.append(str(Path(__file__).parent))

from dicoms import make_dicom  # noqa: E402

X, Y = np.meshgrid(np.arange(24), np.arange(16))
BITS_12 = (X * 170 + Y * 7).astype(np.uint16)


def decode(data: bytes) -> np.ndarray:
    image = decode_image(data, deep=True)
    assert image.mode == "I;16"
    return np.asarray(image).astype(int)


def scale(shares: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(shares, 0, 1) * 65535).astype(int)


@pytest.mark.parametrize(("dtype", "bits"), [("u1", 8), ("u2", 12), ("u2", 16)])
def test_all_that_the_stored_bits_can_hold_is_shown(dtype, bits):
    values = (BITS_12 & (2**bits - 1)).astype(dtype)
    shown = decode(make_dicom(values, bits=bits))
    np.testing.assert_array_equal(shown, scale(values / (2**bits - 1)))


def test_signed_values_begin_at_their_least():
    values = (BITS_12.astype(int) - 2048).astype(np.int16)
    shown = decode(make_dicom(values, bits=12))
    np.testing.assert_array_equal(shown, scale(BITS_12 / 4095))


def test_a_deep_image_of_8_bits_wanted_is_its_upper_8():
    data = make_dicom(BITS_12, bits=12)
    image = decode_image(data)
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), decode(data) >> 8)


def test_monochrome1_is_inverted():
    plain, inverted = (
        decode(make_dicom(BITS_12, bits=12, kind=f"MONOCHROME{i}")) for i in (2, 1)
    )
    np.testing.assert_array_equal(inverted, 65535 - plain)


def test_a_window_is_of_values_after_slope_and_intercept():
    data = make_dicom(
        BITS_12,
        bits=12,
        RescaleSlope=2,
        RescaleIntercept=-1024,
        WindowCenter=[40, 500],
        WindowWidth=[400, 9],
    )
    hounsfield = BITS_12 * 2.0 - 1024
    shares = (hounsfield - (40 - 0.5)) / (400 - 1) + 0.5  # PS3.3, C.11.2.1.2.1
    np.testing.assert_array_equal(decode(data), scale(shares))
    assert {0, 65535} < set(decode(data).ravel().tolist())


def test_a_negative_slope_turns_the_values_and_not_the_range():
    data = make_dicom(BITS_12, bits=12, RescaleSlope=-2, RescaleIntercept=100)
    np.testing.assert_array_equal(decode(data), scale(1 - BITS_12 / 4095))


@pytest.mark.parametrize(
    ("function", "share"),
    [
        ("LINEAR_EXACT", lambda x: (x - 2000) / 800 + 0.5),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 800))),
    ],
)
def test_windows_of_other_shapes_are_shown(function, share):
    window = {"WindowCenter": 2000, "WindowWidth": 800, "VOILUTFunction": function}
    shown = decode(make_dicom(BITS_12, bits=12, **window))
    np.testing.assert_allclose(shown, scale(share(BITS_12 * 1.0)), atol=1)


def test_a_table_of_values_of_interest_goes_before_a_window():
    table = Dataset()
    table.LUTDescriptor = [4, 0, 8]
    table.add_new("LUTData", "US", [9, 99, 199, 255])
    values = np.array([[0, 1, 2, 3, 200]], np.uint16)
    data = make_dicom(
        values, bits=12, VOILUTSequence=[table], WindowCenter=1, WindowWidth=2
    )
    shown = decode(data)
    np.testing.assert_array_equal(
        shown, scale(np.array([[9, 99, 199, 255, 255]]) / 255)
    )


def test_of_many_frames_the_first_is_taken():
    frames = np.stack([BITS_12, BITS_12[::-1]])
    np.testing.assert_array_equal(
        decode(make_dicom(frames, bits=12)), decode(make_dicom(BITS_12, bits=12))
    )


def test_color_is_read_as_rgb():
    rgb = np.dstack([X * 5, Y * 7, X + Y]).astype(np.uint8)
    image = decode_image(make_dicom(rgb, kind="RGB"), deep=True)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), rgb)


def test_compressed_pixels_without_a_decoder_are_one_sentence():
    lossless = "1.2.840.10008.1.2.4.70"
    data = make_dicom(
        BITS_12, syntax=lossless, pixels=encapsulate([b"\xff\xd8\xff\xd9"])
    )
    with pytest.raises(DecodeError) as error:
        decode_image(data)
    assert str(error.value).startswith("its pixels are compressed as JPEG Lossless")
    assert str(error.value).endswith("which no installed decoder reads")
    assert "\n" not in str(error.value)


def test_jpeg_2000_is_decoded_by_pillow():
    file = io.BytesIO()
    Image.fromarray(BITS_12).save(file, "JPEG2000", irreversible=False, no_jp2=True)
    data = make_dicom(
        BITS_12,
        syntax="1.2.840.10008.1.2.4.90",
        pixels=encapsulate([file.getvalue()]),
    )
    np.testing.assert_array_equal(decode(data), BITS_12)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "PALETTE COLOR"}, "with pixels of PALETTE COLOR, not read here"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "a window of width 0.0, LINEAR"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "a rescale slope of 0"),
    ],
)
def test_what_cannot_be_shown_has_a_reason(changes, reason):
    with pytest.raises(DecodeError, match=reason):
        decode_image(make_dicom(BITS_12, **changes))


def test_a_header_that_claims_too_many_pixels_is_refused_before_they_are_read():
    with pytest.raises(DecodeError, match="its header claims too many pixels: 24 × 16"):
        decode_image(make_dicom(BITS_12), max_pixels=100)


def test_bytes_cut_short_are_a_failure():
    data = make_dicom(BITS_12)
    for length in (140, 300, len(data) - 200):
        with pytest.raises(DecodeError):
            decode_image(data[:length])


def test_without_pydicom_it_is_said_what_to_install(monkeypatch):
    data = make_dicom(BITS_12)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DecodeError, match=r"pip install \"tl-pipeline\[dicom\]\""):
        decode_image(data)
