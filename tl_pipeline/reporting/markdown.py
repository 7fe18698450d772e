"""The summary of a pipeline as Markdown, for pages that show it.

Markdown admits HTML, so what comes from data is escaped here too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tl_pipeline.reporting.sentences import (
    count,
    describe_interval,
    describe_reuse,
)
from tl_pipeline.reporting.summary import comparison_table
from tl_pipeline.reporting.tables import format_cell


def make_markdown(summary: Mapping[str, Any]) -> str:
    """Writes what a pipeline did; takes what `summarize` returns."""
    extracted, trained = summary["extract"], summary["train"]
    title = trained["transfer"]["sentence"] if trained["transfer"] else "Trained"
    parts = [
        f"# {_text(extracted['dataset'])}",
        _text(title),
        f"Extraction: {describe_reuse(extracted)}.",
        *_changes(summary),
        _table(
            [
                {"metric": name, "test": describe_interval(metric)}
                for name, metric in trained["test"].items()
            ]
        ),
    ]
    if trained["comparison"]:
        parts.append(_table(comparison_table(trained["comparison"])))
    if summary["promotion"]:
        parts.append(_text(summary["promotion"]["sentence"]))
    if extracted["failures"]:
        failed = [{"id": f["id"], "why": f["reason"]} for f in extracted["failures"]]
        parts.append(_table(failed[:20]))
    parts.append(f"Store `{extracted['store']}`, run `{trained['run']}`.")
    return "\n\n".join(parts)


def _changes(summary: Mapping[str, Any]) -> list[str]:
    """Says what has changed since the last run, and what was dropped."""
    changes, drift = summary["extract"]["changes"], summary["drift"]
    found = []
    if changes is not None:
        changed = [f"{n:,} {kind}" for kind, n in changes.items() if n]
        found.append(f"Since the last run: {', '.join(changed) or 'nothing changed'}.")
    if drift:
        found.append(_text(f"{drift['sentence']}."))
    if retained := summary["retention"]:
        found.append(
            f"Dropped {count(retained['snapshots'], 'snapshot')}, "
            f"{count(retained['rows'], 'row')} and "
            f"{count(len(retained['runs']), 'run')}."
        )
    return found


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    columns = list(rows[0])
    lines = [[_text(column) for column in columns], ["---"] * len(columns)]
    lines += [[_text(row[column]) for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(value: object) -> str:
    """Formats a value so that Markdown shows it and does nothing else with it."""
    # Within a word an underscore means nothing: `log_loss` stays readable as it is.
    special = r"[\\`*~\[\]|<>&]|(?<!\w)_|_(?!\w)"
    return re.sub(special, r"\\\g<0>", format_cell(value))
