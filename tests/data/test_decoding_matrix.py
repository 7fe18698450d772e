"""Pictures whose pixels are known beforehand, in each layout that a format has."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from tl_pipeline.data.decoding import DecodeError, decode_image

Y, X = np.mgrid[0:32, 0:48]
GRAY_16 = (X * 1300 + Y * 17).astype(np.uint16)
GRAY = (GRAY_16 >> 8).astype(np.uint8)
RGB = np.stack([X * 5, Y * 7, X + Y], axis=-1).astype(np.uint8)
CMYK = np.concatenate([RGB, (Y * 3)[..., None].astype(np.uint8)], axis=-1)
RGB_16 = RGB.astype(np.uint16) * 257 // 256 * 256 + 99
SHORT = 3


def decode(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data))


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def make_tiff(
    pixels: np.ndarray,
    photometric: int,
    *,
    order: str = "<",
    bits: int = 0,
    planes: int = 1,
    tile: int = 0,
    pages: int = 1,
    more: dict[int, list[int]] | None = None,
) -> bytes:
    """Writes an uncompressed TIFF, by TIFF 6.0; a tile's side divides the image's."""
    height, width, samples = (*pixels.shape, 1)[:3]
    values = pixels.astype(pixels.dtype.newbyteorder(order))
    if bits == 12:  # two values in three bytes
        pairs = pixels.reshape(-1, 2).astype(int)
        whole = pairs[:, 0] << 12 | pairs[:, 1]
        parts = [b"".join(int(pair).to_bytes(3, "big") for pair in whole)]
    elif planes == 2:
        parts = [values[..., i].tobytes() for i in range(samples)]
    elif tile:
        parts = [
            values[y : y + tile, x : x + tile].tobytes()
            for y in range(0, height, tile)
            for x in range(0, width, tile)
        ]
    else:
        parts = [values.tobytes()]
    body = bytearray()
    offsets = []
    for part in parts:
        offsets.append(8 + len(body))
        body += part
    depth = bits or pixels.dtype.itemsize * 8
    tags = {256: [width], 257: [height], 258: [depth] * samples, 259: [1]}
    tags |= {262: [photometric], 277: [samples], 284: [planes]}
    sizes = [len(part) for part in parts]
    if tile:
        tags |= {322: [tile], 323: [tile], 324: offsets, 325: sizes}
    else:
        tags |= {273: offsets, 278: [height], 279: sizes}
    tags |= more or {}
    first = 8 + len(body)
    for page in range(pages):
        directory, behind = bytearray(), bytearray()
        start = 8 + len(body) + 2 + 12 * len(tags) + 4
        for tag in sorted(tags):
            long = tag in (273, 279, 324, 325)
            data = struct.pack(f"{order}{len(tags[tag])}{'IH'[not long]}", *tags[tag])
            if len(data) > 4:
                place = struct.pack(f"{order}I", start + len(behind))
                behind += data
            else:
                place = data.ljust(4, b"\0")
            kind = 4 if long else SHORT
            directory += struct.pack(f"{order}HHI", tag, kind, len(tags[tag])) + place
        following = start + len(behind) if page + 1 < pages else 0
        body += struct.pack(f"{order}H", len(tags)) + directory
        body += struct.pack(f"{order}I", following) + behind
    magic = b"II" if order == "<" else b"MM"
    return magic + struct.pack(f"{order}HI", 42, first) + bytes(body)


COLORS = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16) * 257


def cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    """By the rule without a profile: each ink takes its share of what black leaves."""
    ink = cmyk.astype(float)
    return (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize(
    ("pixels", "photometric", "wanted"),
    [
        (GRAY, 1, GRAY),
        (GRAY, 0, 255 - GRAY),
        (GRAY_16, 1, GRAY),
        (RGB, 2, RGB),
        (RGB_16, 2, RGB),
        (CMYK, 5, cmyk_to_rgb(CMYK)),
        (CMYK.astype(np.uint16) * 257, 5, cmyk_to_rgb(CMYK)),
        (GRAY, 3, (COLORS.T >> 8)[GRAY]),
    ],
    ids=str,
)
def test_tiff_layouts(
    order: str, tile: int, pixels: np.ndarray, photometric: int, wanted: np.ndarray
):
    more = {320: COLORS.ravel().tolist()} if photometric == 3 else {}
    data = make_tiff(pixels, photometric, order=order, tile=tile, more=more)
    assert np.abs(decode(data) - wanted).max() <= 1 - (photometric != 5)


def test_tiff_gray_of_16_bits_may_have_white_at_zero():
    data = make_tiff(GRAY_16, 0)
    np.testing.assert_array_equal(decode(data), (65535 - GRAY_16) >> 8)


def test_of_twelve_bits_the_upper_eight_are_kept():
    data = make_tiff(GRAY_16 >> 4, 1, bits=12)
    np.testing.assert_array_equal(decode(data), GRAY)


def test_tiff_planes_of_eight_bits_are_joined():
    np.testing.assert_array_equal(decode(make_tiff(RGB, 2, planes=2)), RGB)


@pytest.mark.parametrize("kind", [1, 2], ids=["associated", "unassociated"])
def test_tiff_alpha_is_composited_on_white(kind: int):
    share = GRAY[..., None] / 255
    color = np.rint(RGB * share).astype(np.uint8) if kind == 1 else RGB
    pixels = np.concatenate([color, GRAY[..., None]], axis=-1)
    wanted = (color if kind == 1 else RGB * share) + 255 * (1 - share)
    decoded = decode(make_tiff(pixels, 2, more={338: [kind]}))
    assert np.abs(decoded - wanted).max() <= 2  # alpha is divided out and put back


def test_of_tiff_pages_the_first_is_taken():
    np.testing.assert_array_equal(decode(make_tiff(RGB, 2, pages=3)), RGB)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (make_tiff(RGB_16, 2, planes=2), "in planes of 16 bits, which are not read"),
        (make_tiff(GRAY, 1, more={339: [2]}), "signed numbers, of no range"),
        (make_tiff(GRAY_16, 1, more={339: [2]}), "signed numbers, of no range"),
        (make_tiff(GRAY.astype(np.float32), 1, more={339: [3]}), "of no range"),
        (make_tiff(RGB, 2)[:-40], "it (cannot be decoded|is none of)"),
    ],
)
def test_tiff_that_has_no_pixels_of_a_range_is_a_failure(data: bytes, reason: str):
    with pytest.raises(DecodeError, match=reason):
        decode_image(data)


# Adam7: first column and row, steps across and down of each pass (PNG, section 8.2).
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
PASSES += [(1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def make_png(
    pixels: np.ndarray,
    color: int,
    *,
    interlaced: bool,
    bits: int = 0,
    more: bytes = b"",
) -> bytes:
    """Writes a PNG of 8 or 16 bits without filters; of fewer bits one row of gray."""
    height, width = pixels.shape[:2]
    depth = bits or pixels.dtype.itemsize * 8
    if bits:
        text = "".join(format(value, f"0{bits}b") for value in pixels.ravel())
        rows = b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    else:
        values = pixels.astype(pixels.dtype.newbyteorder(">"))
        passes = PASSES if interlaced else [(0, 0, 1, 1)]
        parts = [values[y::down, x::right] for x, y, right, down in passes]
        rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha / 255
    share = share[..., None] if color.ndim == 3 else share
    return color * share + 255 * (1 - share)


ALPHA = (X * 5 + Y).clip(0, 255).astype(np.uint8)
ALPHA_16 = ALPHA.astype(np.uint16) * 257


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("pixels", "color", "wanted"),
    [
        (GRAY, 0, GRAY),
        (GRAY_16, 0, GRAY),
        (RGB, 2, RGB),
        (RGB_16, 2, RGB),
        (np.dstack([GRAY, ALPHA]), 4, on_white(GRAY, ALPHA)),
        (np.dstack([RGB, ALPHA]), 6, on_white(RGB, ALPHA)),
        (np.dstack([RGB_16, ALPHA_16]), 6, on_white(RGB, ALPHA)),
        (np.dstack([GRAY_16, ALPHA_16]), 4, np.dstack([on_white(GRAY, ALPHA)] * 3)),
    ],
    ids=str,
)
def test_png_layouts(
    interlaced: bool, pixels: np.ndarray, color: int, wanted: np.ndarray
):
    decoded = decode(make_png(pixels, color, interlaced=interlaced))
    assert decoded.shape == wanted.shape
    assert np.abs(decoded - wanted).max() <= 0.5 + 1e-9  # one rounding


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_palette_may_be_transparent_by_degrees(interlaced: bool):
    colors = (COLORS.T >> 8).astype(np.uint8)
    more = chunk(b"PLTE", colors.tobytes()) + chunk(b"tRNS", bytes(range(256)))
    decoded = decode(make_png(GRAY, 3, interlaced=interlaced, more=more))
    assert np.abs(decoded - on_white(colors[GRAY], GRAY)).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17)])
def test_a_transparent_gray_of_few_bits_is_white(bits: int, step: int):
    values = np.arange(8, dtype=np.uint8)[None] % 2**bits
    transparent = chunk(b"tRNS", struct.pack(">H", 0))
    wanted = np.where(values == 0, 255, values * step)
    data = make_png(values, 0, interlaced=False, bits=bits, more=transparent)
    np.testing.assert_array_equal(decode(data), wanted)
    transparent = chunk(b"tRNS", struct.pack(">H", 1))
    wanted = np.where(values == 1, 255, values * step)
    data = make_png(values, 0, interlaced=False, bits=bits, more=transparent)
    np.testing.assert_array_equal(decode(data), wanted)


def test_a_transparent_color_of_16_bits_is_a_failure_since_half_its_bits_are_lost():
    more = chunk(b"tRNS", struct.pack(">HHH", 1029, 1029, 1029))
    with pytest.raises(DecodeError, match="one of its 16-bit colors is transparent"):
        decode_image(make_png(RGB_16, 2, interlaced=False, more=more))


def make_cmyk_jpeg(stored: tuple[int, ...], edit: Callable[[bytes], bytes]) -> bytes:
    """Writes a JPEG of one color, whose four components hold `stored`."""
    inverted = tuple(255 - value for value in stored)  # as Pillow, like Adobe, writes
    return edit(encode(Image.new("CMYK", (16, 16), inverted), "JPEG", quality=100))


def as_ycck(data: bytes) -> bytes:
    at = data.index(b"Adobe") + 11  # its last byte: 0 is CMYK, 2 is YCCK
    assert data[at] == 0
    return data[:at] + b"\x02" + data[at + 1 :]


def without_adobe(data: bytes) -> bytes:
    at = data.index(b"\xff\xee")
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def test_cmyk_jpeg_is_inverted_with_adobes_marker_and_without():
    stored = (200, 120, 250, 180)
    wanted = cmyk_to_rgb(255 - np.array([[stored]]))[0, 0]
    for edit in (lambda data: data, without_adobe):
        decoded = decode(make_cmyk_jpeg(stored, edit))
        assert np.abs(decoded - wanted).max() <= 1


def test_ycck_jpeg_becomes_rgb():
    y, cb, cr, k = 150, 100, 160, 200
    # JFIF 1.02, page 3; by Adobe's technote 5116 the inks are what remains to 255.
    red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
    green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
    stored = [255 - red, 255 - green, 255 - blue, k]
    wanted = cmyk_to_rgb(255 - np.array([[stored]]))[0, 0]
    decoded = decode(make_cmyk_jpeg((y, cb, cr, k), as_ycck))
    assert np.abs(decoded - wanted).max() <= 2


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_progressive_jpeg_is_the_baseline_one_in_another_order(subsampling: int):
    options = {"quality": 80, "subsampling": subsampling}
    image = Image.fromarray(RGB)
    plain, ordered = (
        decode(encode(image, "JPEG", progressive=flag, **options))
        for flag in (False, True)
    )
    np.testing.assert_array_equal(plain, ordered)
    assert np.abs(plain.astype(int) - RGB).mean() < 5


PROFILES = {
    "broken": b"no profile at all",
    "empty": bytes(128),
    "gray": ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes(),
    "lab": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
}
_SRGB = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
PROFILES["sRGB"] = bytes(_SRGB)
PROFILES["said to be CMYK"] = bytes(_SRGB[:16] + b"CMYK" + _SRGB[20:])
PROFILES["said to be gray"] = bytes(_SRGB[:16] + b"GRAY" + _SRGB[20:])


def widen(profile: bytes) -> bytes:
    """Exchanges red and green: a profile that anyone who applied it would see."""
    at, other = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    swapped = bytearray(profile)
    swapped[at : at + 4], swapped[other : other + 4] = b"gXYZ", b"rXYZ"
    return bytes(swapped)


PROFILES["other primaries"] = widen(bytes(_SRGB))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_color_profiles_change_no_pixel(profile: str, format_: str):
    options = {"lossless": True} if format_ == "WEBP" else {}
    image = Image.fromarray(RGB)
    plain = encode(image, format_, **options)
    marked = encode(image, format_, icc_profile=PROFILES[profile], **options)
    assert marked != plain
    np.testing.assert_array_equal(decode(marked), decode(plain))


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_with_holes_the_first_frame_is_taken(format_: str):
    first = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    first.paste((0, 0, 0, 0), (0, 0, 4, 8))
    second = Image.new("RGBA", (8, 8), (0, 0, 255, 255))
    options = {"lossless": True} if format_ == "WEBP" else {}
    data = encode(first, format_, save_all=True, append_images=[second], **options)
    decoded = decode(data)
    assert decoded[4, 1].tolist() == [255, 255, 255]
    assert decoded[4, 6].tolist() == [255, 0, 0]


def test_what_an_opaque_first_frame_leaves_open_is_white():
    frame = Image.new("P", (2, 3), 1)
    frame.putpalette(bytes([10, 20, 30, 0, 255, 0, 90, 90, 90, 9, 9, 9]))
    data = bytearray(encode(frame, "GIF", optimize=False))
    data[6:10] = struct.pack("<HH", 5, 6)  # the canvas
    place = data.index(b",\0\0\0\0") + 1
    data[place : place + 4] = struct.pack("<HH", 1, 2)
    wanted = np.full((6, 5, 3), 255)
    wanted[2:5, 1:3] = 0, 255, 0
    np.testing.assert_array_equal(decode(bytes(data)), wanted)


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><html>Not found</html>", b"\n\n<html>", b"{}"]
)
def test_a_web_page_saved_as_a_photograph_shows_how_it_begins(page: bytes):
    with pytest.raises(DecodeError) as caught:
        decode_image(page)
    assert repr(page[:8]) in str(caught.value)
