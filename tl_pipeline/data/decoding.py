"""Bytes become pixels: the first frame, upright, as mode `L`, `RGB` or `I;16`.

Whatever a file holds, the result is an image or a `DecodeError` with the reason. What
a header claims is checked before anything of that size is allocated.

Choices that decide pixels: transparency, and what the first frame of an animation
leaves open, is white; of 16 or 12 bits the upper 8 are kept, or where they are asked
for all of gray, so that the brightest value that the file's depth can hold is 65,535
(color has 8 in any case); CMYK is converted without
its profile, and in a JPEG is inverted as Adobe writes it, with its marker or without;
color profiles are not applied, be they of a wide gamut, gray or broken.
"""

import io
import math
import threading
import zlib

import numpy as np
from PIL import (  # noqa: F401
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from tl_pipeline.data.dicom import Dicom, DicomError, is_dicom
from tl_pipeline.data.quirks import (
    Box,
    find_misread,
    first_frame_box,
    gray_scale,
    mend_transparency,
)
from tl_pipeline.errors import shorten

# Their plugins are imported above: left to itself, Pillow imports all of its fifty, in
# whichever thread meets a rarer format first. MPO is what phones write: a JPEG with
# more pictures behind it, which is opened as the JPEG that it begins with.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")

# Pillow's own limit: a quarter of a gigabyte at 3 bytes a pixel.
MAX_PIXELS = 89_478_485
# Resampling holds a row of weights for each pixel of the longer side.
MAX_SIDE = 1_000_000
# NumPy has Python's own parser read it, of which CPython 3.11 counts the depth of all
# threads as one: two at once fail with "recursion depth mismatch".
_READING_HEADER = threading.Lock()
NPY_MAGIC = b"\x93NUMPY"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

# How to turn a picture upright, by its EXIF orientation (EXIF 2.32, 4.6.4, tag 274).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class DecodeError(Exception):
    """Bytes that are no usable image, text or recording; its text is the reason."""


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, deep: bool = False
) -> Image.Image:
    """Decodes the first frame of an image and turns it upright.

    Args:
      data: A JPEG, PNG, GIF, BMP, WebP, TIFF or DICOM file, or a `.npy` file of
        uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].
      max_pixels: Of an image with more, only the header is read. Pillow's own limit
        of twice the default stays.
      deep: Whether gray of more than 8 bits keeps them.

    Returns:
      An image of mode `L` (gray) or `RGB`, without transparency; if `deep`, gray of
      more than 8 bits is of mode `I;16`, from 0 to 65,535.

    Raises:
      DecodeError: The bytes are no such file, are cut short, or claim too many pixels.
    """
    if not data:
        raise DecodeError("it is empty: 0 bytes")
    try:
        if data.startswith(NPY_MAGIC):
            return _flatten(_open_npy(data, max_pixels))
        if is_dicom(data):
            return _open_dicom(data, max_pixels, deep=deep)
        image = _open_picture(data)
        _check_size(image.width, image.height, max_pixels)
        if data.startswith(PNG_MAGIC):
            _check_png(data)
        if (reason := find_misread(image)) is not None:
            raise DecodeError(reason)
        mend_transparency(image)
        box = first_frame_box(image, data)
        image.load()
        flat = _flatten(image, deep=deep)
        flat = flat if box is None else _lay_on_white(flat, box)
        return _turn_upright(flat, _orientation(image))
    except DecodeError:
        raise
    except DicomError as error:
        raise DecodeError(str(error)) from error
    # Pillow meets bad bytes with nearly every built-in exception there is.
    except Exception as error:
        raise DecodeError(f"it cannot be decoded: {shorten(error)}") from error


def _open_picture(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise DecodeError(
            f"it is none of {known}, or its header is damaged; it begins with "
            f"{data[:8]!r}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError(f"its header claims too many pixels: {error}") from None


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise DecodeError(f"it has no pixels: {width} × {height}")
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise DecodeError(
            f"its header claims too many pixels: {width} × {height}, more than "
            f"{max_pixels} or than {MAX_SIDE} a side"
        )


def _check_png(data: bytes) -> None:
    """Checks the pixels' checksums, which Pillow skips: it would show damaged ones."""
    view, at = memoryview(data), len(PNG_MAGIC)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(view[at : at + 4])
        kind = view[at + 4 : at + 8]
        if kind == b"IDAT" and end + 4 > len(data):
            raise DecodeError("it cannot be decoded: its pixels are cut short")
        checksum = int.from_bytes(view[end : end + 4])
        if kind == b"IDAT" and checksum != zlib.crc32(view[at + 4 : end]):
            raise DecodeError("its pixels are damaged: their checksum does not agree")
        if kind == b"IEND":
            return
        at = end + 4


def _open_npy(data: bytes, max_pixels: int) -> Image.Image:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    reads = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version in reads:
        with _READING_HEADER:
            header = reads[version](file)
    else:
        raise DecodeError(f"it is a .npy file of version {version}, not 1.0 or 2.0")
    shape, is_fortran, dtype = header
    if dtype != np.uint8 or not (len(shape) == 2 or shape[2:] in ((1,), (3,), (4,))):
        raise DecodeError(
            f"it is a .npy file of {dtype} {list(shape)}; needed is uint8 [H, W] or "
            "[H, W, C] with C of 1, 3 or 4"
        )
    _check_size(shape[1], shape[0], max_pixels)
    n_bytes = len(data) - file.tell()
    if n_bytes != math.prod(shape):
        raise DecodeError(
            f"it is a .npy file of {math.prod(shape)} values, and holds {n_bytes}"
        )
    array = np.frombuffer(data, np.uint8, offset=file.tell())
    array = array.reshape(shape, order="F" if is_fortran else "C")
    return Image.fromarray(array[..., 0] if shape[2:] == (1,) else array)


def _open_dicom(data: bytes, max_pixels: int, *, deep: bool) -> Image.Image:
    dicom = Dicom(data)
    _check_size(dicom.width, dicom.height, max_pixels)
    values = dicom.read()
    if values.dtype == np.uint16 and not deep:
        values = (values >> 8).astype(np.uint8)
    return Image.fromarray(values)


def _flatten(image: Image.Image, *, deep: bool = False) -> Image.Image:
    """Converts to `L` or `RGB`, composited on white where it is transparent."""
    mode = image.mode
    if mode.startswith("I;16"):
        return _flatten_16(image, deep=deep)
    if mode in ("I", "F"):
        raise DecodeError(f"its pixels are 32-bit numbers (mode {mode}), of no range")
    if "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        is_gray = mode in ("1", "L", "LA", "La")
        image = image.convert("RGBA")
        opaque = image.convert("L" if is_gray else "RGB")
        paper = Image.new(opaque.mode, opaque.size, "white")
        return Image.composite(opaque, paper, image.getchannel("A"))
    if mode in ("L", "RGB"):
        return image
    return image.convert("L" if mode == "1" else "RGB")


def _lay_on_white(image: Image.Image, box: Box) -> Image.Image:
    """Makes white what lies outside of a box."""
    paper = Image.new(image.mode, image.size, "white")
    paper.paste(image.crop(box), box)
    return paper


def _flatten_16(image: Image.Image, *, deep: bool) -> Image.Image:
    # Pillow itself keeps the upper 8 bits of 16-bit color; gray is treated alike.
    values = np.asarray(image)
    bits, is_zero_white = gray_scale(image)
    if is_zero_white:
        values = 2**bits - 1 - values
    if deep:
        gray = np.rint(values * (65535 / (2**bits - 1))).astype(np.uint16)
    else:
        gray = (values >> (bits - 8)).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[values == transparent] = np.iinfo(gray.dtype).max
    return Image.fromarray(gray)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1  # metadata that cannot be read says nothing; the pixels are good


def _turn_upright(image: Image.Image, orientation: object) -> Image.Image:
    for value, method in _UPRIGHT.items():
        if orientation == value:
            return image.transpose(method)
    return image
