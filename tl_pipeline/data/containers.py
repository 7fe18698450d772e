"""What is damaged in the container of a sound file, that libsndfile reads past.

Of a WAV file that ends too soon it reads what is there, and of an Ogg file it leaves
out the pages that are damaged: either becomes a shorter recording than it was.
"""

import zlib

_UNKNOWN = (0x7FFFFFFF, 0xFFFFFFFF)  # what streams write for the size of their data
_PAGE = b"OggS"
_HEADER = 27  # bytes of a page's header, before the sizes of its segments
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_damage(data: bytes) -> str | None:
    """Returns what is damaged in a sound file's container; None where nothing is.

    Args:
      data: The file; one that is neither WAV nor Ogg is not looked at.

    References:
      Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft,
      1991), "Resource Interchange File Format".
      RFC 3533, section 6 (Ogg's pages).
    """
    if data.startswith(b"RIFF"):
        return _find_in_wav(data)
    return _find_in_ogg(data) if data.startswith(_PAGE) else None


def _find_in_wav(data: bytes) -> str | None:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"data":
            found = len(data) - at - 8
            if size > found and size not in _UNKNOWN:
                return f"it is cut short: {found:,} of {size:,} bytes"
            return None
        at += 8 + size + size % 2  # chunks begin at even places
    return "it is cut short: it ends before its samples"


def _find_in_ogg(data: bytes) -> str | None:
    at, pages = 0, 0
    while at < len(data):
        pages += 1
        header = data[at : at + _HEADER]
        if not _PAGE.startswith(header[:4]):
            return f"its page {pages} is damaged"
        sizes = data[at + _HEADER : at + _HEADER + header[-1]]
        end = at + _HEADER + len(sizes) + sum(sizes)
        if len(header) < _HEADER or len(sizes) < header[-1] or end > len(data):
            return f"it is cut short: page {pages} ends too soon"
        if _checksum(data[at:end]) != header[22:26]:
            return f"its page {pages} is damaged"
        at = end
    return None


def _checksum(page: bytes) -> bytes:
    """Returns a page's checksum: zlib's, of mirrored bits, without inversions."""
    blank = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(blank.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2).to_bytes(4, "little")
