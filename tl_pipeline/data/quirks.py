"""What Pillow reads otherwise than a file says, and does not tell.

Found with Pillow 13 and files whose pixels are known. Where its pixels can be mended
they are; where what is lost cannot be had any more, there is a reason.
"""

from PIL import GifImagePlugin, Image, PngImagePlugin, TiffImagePlugin

Box = tuple[int, int, int, int]  # left, top, right, bottom

# Tags of TIFF 6.0, section 8 and page 80.
_BITS, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _SEPARATE, _SIGNED = 0, 2, 2
# PNG's gray of few bits is spread over 0 to 255; its transparent value is not.
_SPREAD = {"L;2": 85, "L;4": 17}


def find_misread(image: Image.Image) -> str | None:
    """Returns why an image's pixels would come out wrong, or None.

    Args:
      image: Opened and not loaded.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_BITS, (1,))
        if image.tag_v2.get(_PLANES) == _SEPARATE and len(bits) > 1 and max(bits) > 8:
            return "its colors are in planes of 16 bits, which are not read right"
        if _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ()):
            return "its pixels are signed numbers, of no range"
    if _rawmode(image) == "RGB;16B" and "transparency" in image.info:
        return "one of its 16-bit colors is transparent; only 8 bits of each are read"
    return None


def mend_transparency(image: Image.Image) -> None:
    """Spreads a transparent gray value of 2 or 4 bits as the pixels are.

    Args:
      image: Opened and not loaded.
    """
    spread = _SPREAD.get(_rawmode(image))
    if spread and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= spread


def gray_scale(image: Image.Image) -> tuple[int, bool]:
    """Returns how many bits a gray image of mode `I;16` has, and whether 0 is white."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 16, False
    (bits, *_) = image.tag_v2.get(_BITS, (16,))
    return bits, image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO


def first_frame_box(image: Image.Image, data: bytes) -> Box | None:
    """Returns where an animation's first frame is, where it leaves some canvas open.

    What is open shows what lies behind, as transparency does. Pillow fills it with the
    palette's first color, or with black.

    Args:
      image: Opened and not loaded.
      data: The file it was opened from.
    """
    if isinstance(image, GifImagePlugin.GifImageFile) and image.tile:
        box = image.tile[0].extents
    else:
        box = _first_webp_frame(data) if image.format == "WEBP" else None
    return None if box == (0, 0, *image.size) else box


def _first_webp_frame(data: bytes) -> Box | None:
    # https://developers.google.com/speed/webp/docs/riff_container, "Animation"
    at = 12
    while at + 20 <= len(data):
        if data[at : at + 4] == b"ANMF":
            fields = (data[at + 8 + i : at + 11 + i] for i in (0, 3, 6, 9))
            x, y, width, height = (int.from_bytes(f, "little") for f in fields)
            return 2 * x, 2 * y, 2 * x + width + 1, 2 * y + height + 1
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return None


def _rawmode(image: Image.Image) -> str:
    """Returns how the pixels of a PNG are laid out, `""` of anything else."""
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return ""
    arguments = image.tile[0].args
    return arguments if isinstance(arguments, str) else ""
