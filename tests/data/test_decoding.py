import io
import random
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from tl_pipeline.data.decoding import DecodeError, decode_image

ORIENTATION = 0x0112


def make_pixels(height: int = 5, width: int = 7, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng([0, height, width])
    return rng.integers(0, 256, (height, width, channels), np.uint8)


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data))


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def make_png(
    width: int, height: int, *, bits: int, color: int, rows: bytes, more: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


# By EXIF 2.32, 4.6.4: where the stored row 0 and column 0 belong.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_images_are_turned_upright_by_their_exif(orientation: int, format_: str):
    pixels = make_pixels()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = encode(Image.fromarray(pixels), format_, exif=exif, **options)
    # JPEG loses some; what it stores is read without looking at the metadata.
    stored = np.asarray(Image.open(io.BytesIO(data))) if format_ == "JPEG" else pixels
    np.testing.assert_array_equal(decode(data), UPRIGHT[orientation](stored))


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_without_meaning_turns_nothing(orientation: int):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encode(Image.fromarray(make_pixels()), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data), make_pixels())


# Pillow warns of odd metadata: the user sees that, and it fails nothing.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0no TIFF header", b"Exif\0\0MM"]
)
def test_metadata_that_cannot_be_read_does_not_fail_an_image(exif: bytes, format_: str):
    data = encode(Image.fromarray(make_pixels()), format_, exif=exif)
    assert decode_image(data).size == (7, 5)


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_lossless_gray_is_decoded_exactly(format_: str):
    gray = make_pixels()[..., 0]
    options = {"lossless": True} if format_ == "WEBP" else {}
    decoded = decode(encode(Image.fromarray(gray), format_, **options))
    if decoded.ndim == 3:  # WebP has no gray, and GIF's is a palette
        assert (decoded == decoded[..., :1]).all()
        decoded = decoded[..., 0]
    np.testing.assert_array_equal(decoded, gray)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return color * share + 255 * (1 - share)


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_alpha_is_composited_on_white(format_: str):
    pixels = make_pixels(9, 8, 4)
    pixels[0, :, 3], pixels[1, :, 3] = 0, 255
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    decoded = decode(encode(Image.fromarray(pixels), format_, **options))
    wanted = on_white(pixels[..., :3], pixels[..., 3])
    assert np.abs(decoded - wanted).max() <= 0.5 + 1e-9  # one rounding


def test_gray_with_alpha_is_composited_on_white_and_stays_gray():
    pixels = make_pixels(9, 8, 2)
    decoded = decode(encode(Image.fromarray(pixels, "LA"), "PNG"))
    wanted = on_white(pixels[..., :1], pixels[..., 1])[..., 0]
    assert decoded.shape == (9, 8)
    assert np.abs(decoded - wanted).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_palettes_are_looked_up_and_their_transparent_color_is_white(format_: str):
    indices = (np.arange(12, dtype=np.uint8) % 4).reshape(3, 4)
    colors = np.array([[10, 0, 0], [0, 20, 0], [0, 0, 30], [40, 50, 60]], np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(colors.tobytes())
    np.testing.assert_array_equal(decode(encode(image, format_)), colors[indices])
    colors_seen = np.where(np.arange(4)[:, None] == 2, 255, colors)
    data = encode(image, format_, transparency=2)
    np.testing.assert_array_equal(decode(data), colors_seen[indices])


def test_a_png_with_one_transparent_color_shows_white_there():
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    data = encode(Image.fromarray(pixels), "PNG", transparency=(4, 5, 6))
    assert decode(data).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_one_bit_is_black_and_white():
    bits = np.array([[True, False, True]])
    assert decode(encode(Image.fromarray(bits), "PNG")).tolist() == [[255, 0, 255]]


def test_of_sixteen_bits_the_upper_eight_are_kept_in_gray_and_color():
    values = np.array([0, 255, 256, 32768, 65535], np.uint16)
    gray = decode(encode(Image.fromarray(values[None]), "PNG"))
    assert gray.tolist() == [[0, 0, 1, 128, 255]]
    rows = b"\0" + np.repeat(values, 3).astype(">u2").tobytes()
    color = decode(make_png(5, 1, bits=16, color=2, rows=rows))
    np.testing.assert_array_equal(color, np.dstack([gray] * 3))


def test_one_transparent_value_of_sixteen_bits_is_white():
    rows = b"\0" + np.array([256, 257, 512], ">u2").tobytes()
    transparent = chunk(b"tRNS", struct.pack(">H", 257))
    data = make_png(3, 1, bits=16, color=0, rows=rows, more=transparent)
    assert decode(data).tolist() == [[1, 255, 2]]


def test_cmyk_becomes_rgb():
    data = encode(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    red, green, blue = decode(data)[8, 8].astype(int)
    assert red < 8 and green > 247 and blue > 247  # cyan


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_frames_the_first_is_taken(format_: str):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    data = encode(first, format_, save_all=True, append_images=[second])
    assert decode(data)[4, 4].tolist() == pytest.approx([255, 0, 0], abs=3)


def bombs() -> dict[str, bytes]:
    side = 60_000
    jpeg = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    bmp_header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    frame_header = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0)
    array = npy(np.zeros((1, 1), np.uint8))
    return {
        "PNG": make_png(side, side, bits=8, color=2, rows=bytes(1000)),
        "PNG, long": make_png(2_000_000, 2, bits=8, color=0, rows=bytes(1000)),
        "JPEG": bytes(jpeg),
        "BMP": b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + bmp_header + bytes(50),
        "GIF": b"GIF89a" + screen + frame_header + b"\x02\x02D\x01\0;",
        "npy": array.replace(b"(1, 1), }          ", b"(999999, 999999), }"),
    }


@pytest.mark.parametrize("kind", bombs())
def test_a_decompression_bomb_is_told_from_its_header(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object):
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refuse)
    with pytest.raises(DecodeError, match="header claims too many pixels"):
        decode_image(bombs()[kind])


def test_the_limit_of_pixels_can_be_lowered():
    data = encode(Image.new("L", (10, 10)), "PNG")
    assert decode_image(data, max_pixels=100).size == (10, 10)
    with pytest.raises(DecodeError, match="10 × 10, more than 99 "):
        decode_image(data, max_pixels=99)


def test_a_png_whose_pixels_contradict_their_checksum_is_refused():
    plain = bytearray(make_png(2, 2, bits=8, color=0, rows=b"\0ab\0cd"))
    at = plain.index(b"IEND") - 5  # the last byte of the pixels' checksum
    plain[at] ^= 1
    with pytest.raises(DecodeError, match="checksum does not agree"):
        decode_image(bytes(plain))
    plain[at] ^= 1
    assert decode(bytes(plain)).tobytes() == b"abcd"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_file_cut_short_is_a_failure_with_a_reason(format_: str):
    data = encode(Image.fromarray(make_pixels(64, 64)), format_)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(DecodeError, match="it (cannot be decoded|is none of)"):
            decode_image(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty: 0 bytes"),
        (b"<html>404</html>", r"it is none of JPEG, .* begins with b'<html>40'"),
        (encode(Image.new("L", (4, 4)), "PPM"), "it is none of"),
        (encode(Image.new("F", (4, 4)), "TIFF"), "32-bit numbers .mode F."),
        (npy(np.zeros((4, 4))), r"\.npy file of float64 \[4, 4\]; needed is uint8"),
        (npy(np.zeros((4, 4, 2), np.uint8)), r"uint8 \[4, 4, 2\]"),
        (npy(np.zeros((4, 0), np.uint8)), "it has no pixels: 0 × 4"),
        (npy(np.zeros((4, 4), np.uint8))[:-1], "of 16 values, and holds 15"),
        (npy(np.array([[print]])), r"\.npy file of object"),
        (b"\x93NUMPY\x09\x00", r"version \(9, 0\)|cannot be decoded"),
    ],
)
def test_what_is_no_image_is_a_failure_with_its_reason(data: bytes, reason: str):
    with pytest.raises(DecodeError, match=reason):
        decode_image(data)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "npy"])
def test_no_damage_raises_anything_but_a_decode_error(format_: str):
    rng = random.Random(format_)
    pixels = make_pixels(24, 24)
    whole = (
        npy(pixels) if format_ == "npy" else encode(Image.fromarray(pixels), format_)
    )
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8, 32])):
            data[rng.randrange(min(len(data), rng.choice([64, 9999])))] ^= (
                1 << rng.randrange(8)
            )
        try:
            image = decode_image(bytes(data[: rng.choice([None, len(data) // 2])]))
        except DecodeError as error:
            assert str(error)
        else:
            assert image.mode in ("L", "RGB")


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 9))
        | st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    ),
    st.sampled_from("CF"),
)
def test_npy_bytes_decode_to_the_array(array: np.ndarray, order: str):
    decoded = decode(npy(np.asarray(array, order=order)))  # type: ignore[call-overload]
    np.testing.assert_array_equal(
        decoded, array.squeeze(2) if array.shape[2:] == (1,) else array
    )


def test_real_photographs_decode(realdata):
    images = realdata / "images"
    assert decode_image(
        (images / "hymenoptera/train/ants/imageNotFound.gif").read_bytes()
    ).mode in ("L", "RGB")
    paths = sorted((images / "sign-language-digits").rglob("*.JPG"))
    assert len(paths) == 2062
    large = [path for path in paths if path.stat().st_size > 100_000]
    assert len(large) == 3
    for path in paths[::10] + large:
        image = decode_image(path.read_bytes())
        assert image.mode == "RGB" and image.size in ((100, 100), (3024, 3024))
