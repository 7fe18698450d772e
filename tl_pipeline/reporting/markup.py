"""Pieces of HTML. What is not `Html` yet is text, and is escaped on its way in."""

import html
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from tl_pipeline.reporting.tables import format_cell, is_number


class Html(str):
    """Text that is markup already, and may go into a page as it is."""


def to_html(value: object) -> Html:
    """Makes markup of a value: `Html` stays, anything else is formatted and escaped.

    Example:
      >>> to_html("<b>"), to_html(Html("<b>")), to_html(12345)
      ('&lt;b&gt;', '<b>', '12,345')
    """
    return value if isinstance(value, Html) else Html(html.escape(format_cell(value)))


def join_html(parts: Iterable[object], between: str = "") -> Html:
    """Joins values as markup."""
    return Html(between.join(to_html(part) for part in parts))


def make_element(tag: str, *content: object, **attributes: object) -> Html:
    """Makes an element; an attribute `class_` is written `class`, None is left out.

    Example:
      >>> make_element("p", "a < b", class_="soft")
      '<p class="soft">a &lt; b</p>'
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{written}>{join_html(content)}</{tag}>")


def make_section(title: str, *content: object) -> Html:
    """Makes a section with a heading; nothing where there is no content."""
    body = join_html(content)
    if not body.strip():
        return Html()
    return make_element("section", make_element("h2", title), body)


def make_prose(text: str) -> Html:
    """Makes markup of a sentence in which `this` is code."""
    return Html(re.sub(r"`([^`]+)`", r"<code>\1</code>", to_html(text)))


def make_list(sentences: Sequence[str], *, most: int) -> Html:
    """Makes a list of sentences; those beyond `most` are only counted."""
    if not sentences:
        return Html()
    lines = [make_element("li", make_prose(text)) for text in sentences[:most]]
    if len(sentences) > most:
        lines.append(make_element("li", f"and {len(sentences) - most:,} more"))
    return make_element("ul", *lines)


def make_facts(facts: Mapping[str, object]) -> Html:
    """Makes a list of names with their values."""
    rows = [
        make_element("div", make_element("dt", name), make_element("dd", value))
        for name, value in facts.items()
    ]
    return make_element("dl", *rows, class_="facts")


def make_tiles(figures: Mapping[str, object]) -> Html:
    """Makes a row of large figures with their names."""
    rows = [
        make_element("div", make_element("dd", value), make_element("dt", name))
        for name, value in figures.items()
    ]
    return make_element("dl", *rows, class_="tiles")


def make_table(
    rows: Sequence[Mapping[str, object]],
    *,
    right: Collection[str] = (),
    marked: Collection[int] = (),
) -> Html:
    """Makes a table of rows with the same keys; nothing where there are no rows.

    Args:
      rows: One mapping a row; the first one's keys are the columns.
      right: Columns to align to the right, beside those of numbers.
      marked: Rows to set apart, by index.
    """
    if not rows:
        return Html()
    aligned = {
        column: "number"
        for column in rows[0]
        if column in right or all(is_number(row[column]) for row in rows)
    }
    head = [
        make_element("th", column, scope="col", class_=aligned.get(column))
        for column in rows[0]
    ]
    body = [
        make_element(
            "tr",
            *(
                make_element("td", row[column], class_=aligned.get(column))
                for column in rows[0]
            ),
            class_="marked" if i in marked else None,
        )
        for i, row in enumerate(rows)
    ]
    table = make_element(
        "table",
        make_element("thead", make_element("tr", *head)),
        make_element("tbody", *body),
    )
    return make_element("div", table, class_="wide")
