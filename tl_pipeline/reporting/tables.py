"""Tables of plain text, aligned by what the eye sees.

Ids and class names are other people's text: what would move the cursor, color the
terminal or turn the reading direction is spelled out instead.
"""

import unicodedata
from collections.abc import Mapping, Sequence

# Control characters, lone surrogates, line and paragraph separators.
_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
# Embeddings, overrides and isolates (https://trojansource.codes), as
# `unicodedata.bidirectional` calls them.
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def format_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Formats rows of the same columns: numbers to the right, text to the left.

    Args:
      rows: One mapping a row; the first one's keys are the columns.

    Returns:
      Lines of text without a newline at the end; "" for no rows.

    Example:
      >>> print(format_table([{"head": "linear", "n": 5}, {"head": "knn", "n": 12}]))
      head     n
      linear   5
      knn     12
    """
    if not rows:
        return ""
    columns = list(rows[0])
    head = [format_cell(column) for column in columns]
    cells = [[format_cell(row.get(column)) for column in columns] for row in rows]
    right = [all(is_number(row.get(column)) for row in rows) for column in columns]
    widths = [
        max(_width(line[i]) for line in [head, *cells]) for i in range(len(columns))
    ]
    lines = [
        "  ".join(
            _pad(text, width, to_right)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [head, *cells]
    ]
    return "\n".join(lines)


def format_cell(value: object) -> str:
    """Formats a value for a person: 12,345, 0.861, 1.2e-05, `-` for nothing.

    Example:
      >>> [format_cell(v) for v in (12345, 0.86123, 1.234e-5, None, "x")]
      ['12,345', '0.861', '1.2e-05', '-', 'x']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        small = value != 0 and abs(value) < 1e-3
        return f"{value:.2g}" if small else f"{value:,.3f}"
    return escape_text(str(value))


def is_number(value: object) -> bool:
    """Says whether a value stands to the right: a number, or nothing where one may be.

    Example:
      >>> is_number(1.5), is_number(None), is_number("1.5"), is_number(True)
      (True, True, False, False)
    """
    return isinstance(value, int | float | None) and not isinstance(value, bool)


def escape_text(text: str) -> str:
    r"""Spells out the characters of a text that no line of text should obey.

    Example:
      >>> print(escape_text("bees\n\x1b[31mred.jpg"))
      bees\n\x1b[31mred.jpg
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in _UNSHOWN
        or unicodedata.bidirectional(c) in _TURNING
        else c
        for c in text
    )


def _pad(text: str, width: int, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space


def _width(text: str) -> int:
    """Counts terminal cells: wide characters take two, marks and joiners none."""
    return sum(
        0
        if unicodedata.category(c) in ("Mn", "Me", "Cf")
        else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
