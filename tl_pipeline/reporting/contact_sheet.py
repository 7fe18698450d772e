"""A contact sheet: rows of small pictures, to be looked at by eye."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tl_pipeline.reporting.tables import escape_text

GAP = 4  # pixels between pictures
_CAPTION = 16  # pixels high
_INK, _PAPER = (68, 68, 68), (255, 255, 255)


def draw_contact_sheet(
    pictures: np.ndarray, *, columns: Sequence[str], title: str
) -> bytes:
    """Draws a grid of pictures under a title and a caption over each column.

    The same arguments give the same bytes.

    Args:
      pictures: [rows, columns, H, W, C] uint8, RGB or gray.
      columns: Captions.
      title: What is shown; text from elsewhere is shown as it is.

    Returns:
      A PNG file's bytes.
    """
    n_rows, n_columns, height, width, channels = pictures.shape
    top = 2 * _CAPTION + GAP
    sheet = Image.new(
        "RGB",
        (GAP + n_columns * (width + GAP), top + n_rows * (height + GAP)),
        _PAPER,
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    draw.text((GAP, GAP), escape_text(title), fill=_INK, font=font)
    lefts = [GAP + k * (width + GAP) for k in range(n_columns)]
    for left, caption in zip(lefts, columns, strict=True):
        draw.text((left, GAP + _CAPTION), escape_text(caption), fill=_INK, font=font)
    for row, pictured in enumerate(pictures):
        for left, picture in zip(lefts, pictured, strict=True):
            picture = picture[..., 0] if channels == 1 else picture
            sheet.paste(Image.fromarray(picture), (left, top + row * (height + GAP)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()
