"""Bytes become a text, or a `DecodeError` with the reason: UTF-8 and nothing else."""

from tl_pipeline.data.decoding import DecodeError

MAX_CHARACTERS = 1_000_000  # a long novel; more is no text that a network was made for

# Encodings that mark their beginning, which UTF-8 never begins with.
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def decode_text(data: bytes) -> str:
    """Decodes a text; a mark of UTF-8 at its beginning is no part of it.

    Raises:
      DecodeError: It is no UTF-8, holds nothing but white space, or is too long.
    """
    if mark := _MARKS.get(data[:2]):
        raise DecodeError(f"it is no UTF-8 but {mark}; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DecodeError(
            f"it is no UTF-8: byte {data[error.start]:#04x} at {error.start:,} of "
            f"{len(data):,}"
        ) from error
    if not text.strip():
        raise DecodeError("it is empty" if not text else "it holds white space alone")
    if len(text) > MAX_CHARACTERS:
        raise DecodeError(
            f"it has {len(text):,} characters, more than {MAX_CHARACTERS:,}; split it"
        )
    return text
