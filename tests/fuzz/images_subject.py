"""Mutants of pictures: the pixels that a plain reader finds, or a reason.

The plain reader is Pillow used as simply as can be, with what is done to its pixels
(paper under transparency and around a GIF's first frame, turning upright, 16 to 8 bits)
written again in NumPy. Where
a format has checksums of its own, a picture whose checksums are broken may at most be
read as the picture it was.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mutations import mutate_bytes
from PIL import Image
from verdicts import Wrong

from tl_pipeline.data.decoding import FORMATS, NPY_MAGIC, DecodeError, decode_image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x, 1),
}


def encode(image: Image.Image, format_: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def make_pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    color = rough.resize((48, 36), Image.Resampling.BILINEAR)
    gray, rgba = color.convert("L"), color.convert("RGBA")
    rgba.putalpha(gray)
    deep = Image.fromarray(rng.integers(0, 2**16, (20, 30), np.uint16))
    palette = color.quantize(16)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    arrays = [np.asarray(color), np.asarray(gray), np.asfortranarray(rgba)]
    files = []
    for array in arrays:
        file = io.BytesIO()
        np.save(file, array)
        files.append(file.getvalue())
    return files + [
        encode(color, "JPEG", exif=exif),
        encode(color, "JPEG", progressive=True, subsampling=0),
        encode(gray, "JPEG", restart_marker_rows=1),
        encode(color.convert("CMYK"), "JPEG"),
        encode(color, "PNG"),
        encode(rgba, "PNG"),
        encode(gray, "PNG", transparency=7),
        encode(deep, "PNG"),
        encode(palette, "PNG", transparency=3),
        encode(gray.convert("1"), "PNG"),
        encode(palette, "GIF", transparency=3),
        encode(palette, "GIF", save_all=True, append_images=[gray, palette]),
        encode(color, "WEBP", exif=exif),
        encode(rgba, "WEBP", lossless=True),
        encode(color, "BMP"),
        encode(palette, "BMP"),
        *(
            encode(color, "TIFF", compression=name, exif=exif)
            for name in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
        ),
        encode(deep, "TIFF", compression="tiff_lzw"),
        encode(gray.convert("1"), "TIFF", compression="group4"),
    ]


def png_chunks(data: bytes) -> list[tuple[bytes, bytes, bool]]:
    """Returns the chunks of a PNG as (kind, body, whether its checksum holds)."""
    chunks, at = [], len(PNG_MAGIC)
    while at + 12 <= len(data):
        (n,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + n]
        checksum = data[at + 8 + n : at + 12 + n]
        right = struct.pack(">I", zlib.crc32(kind + body)) == checksum
        chunks.append((kind, body, right))
        at += 12 + n
        if kind == b"IEND":
            break
    return chunks


def seal_png(data: bytes) -> bytes:
    """Gives every chunk the checksum that its damaged bytes should have."""
    sealed = PNG_MAGIC
    for kind, body, _ in png_chunks(data):
        sealed += struct.pack(">I", len(body)) + kind + body
        sealed += struct.pack(">I", zlib.crc32(kind + body))
    return sealed


def is_broken_png(data: bytes) -> bool:
    """Tells whether a checksum of a PNG's pixels contradicts them."""
    return data.startswith(PNG_MAGIC) and any(
        kind == b"IDAT" and not right for kind, _, right in png_chunks(data)
    )


def read_npy(data: bytes) -> np.ndarray:
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.shape[2:] == (4,):
        return on_paper(array)
    return array[..., 0] if array.shape[2:] == (1,) else array


def on_paper(rgba: np.ndarray) -> np.ndarray:
    color, alpha = rgba[..., :3].astype(float), rgba[..., 3:] / 255
    return np.rint(color * alpha + 255 * (1 - alpha)).astype(np.uint8)


def frame_of(gif: bytes) -> tuple[slice, slice]:
    """Returns the rows and columns of a GIF's first frame (GIF89a, 18 to 26)."""
    at = 13 + (3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0)
    while gif[at] != 0x2C:  # an extension, or a byte that means nothing
        if gif[at] == 0x21:
            at += 2
            while gif[at]:
                at += 1 + gif[at]
        at += 1
    x, y, width, height = struct.unpack_from("<4H", gif, at + 1)
    return slice(y, y + height), slice(x, x + width)


def read_plainly(data: bytes) -> np.ndarray:
    if data.startswith(NPY_MAGIC):
        return read_npy(data)
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    image.load()
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        pixels = (values >> 8).astype(np.uint8)
        if isinstance(clear, int):
            pixels[values == clear] = 255
    elif clear is not None or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        pixels = on_paper(np.asarray(image.convert("RGBA")))
        pixels = pixels[..., 0] if image.mode in ("1", "L", "LA", "La") else pixels
    elif image.mode in ("1", "L"):
        pixels = np.asarray(image.convert("L"))
    else:
        pixels = np.asarray(image.convert("RGB"))
    if image.format == "GIF":  # Pillow makes up what lies around the frame
        paper = np.full_like(pixels, 255)
        frame = frame_of(data)
        paper[frame] = pixels[frame]
        pixels = paper
    try:
        turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except Exception:
        turn = None
    return turn(pixels) if turn else pixels


class Images:
    def __init__(self) -> None:
        self.files = make_pictures()
        self.originals = [np.asarray(decode_image(data)) for data in self.files]

    def make(self, rng: random.Random) -> bytes:
        data = rng.choice(self.files)
        mutant = mutate_bytes(rng, data, self.files)
        if mutant.startswith(PNG_MAGIC) and rng.random() < 0.5:
            return seal_png(mutant)
        return mutant

    def check(self, data: bytes) -> str:
        try:
            pixels = np.asarray(decode_image(data))
        except DecodeError as error:
            if not str(error) or "\n" in str(error) or len(str(error)) > 500:
                raise Wrong(f"no sentence: {error}") from None
            if isinstance(error.__cause__, MemoryError):
                raise
            return "refused"
        if is_broken_png(data) and not self.is_original(pixels):
            raise Wrong(f"a PNG of broken checksums read as {pixels.shape}")
        plain = read_plainly(data)
        if pixels.shape != plain.shape or np.abs(pixels - plain.astype("i2")).max() > 1:
            raise Wrong(f"{pixels.shape} differs from a plain reader's {plain.shape}")
        return "accepted"

    def is_original(self, pixels: np.ndarray) -> bool:
        return any(np.array_equal(pixels, original) for original in self.originals)


def open_subject(folder: Path) -> Images:
    return Images()
