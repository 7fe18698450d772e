"""What is said of a fine-tuning: on the console, and on the page of its run."""

from collections.abc import Mapping
from typing import Any

from tl_pipeline.reporting.markup import make_element, make_facts, make_table
from tl_pipeline.reporting.sentences import format_duration
from tl_pipeline.reporting.tables import escape_text, format_table


def describe_finetune(found: Mapping[str, Any]) -> list[str]:
    """Says what fine-tuning gained and cost; takes `FinetuneReport.to_json()`."""
    rows = [_row(row) for row in found["rows"]]
    lines = [f"  {line}" for line in format_table(rows).split("\n")]
    lines = [f"Fine-tuned from {escape_text(found['start'])}:", "", *lines, ""]
    for row in found["rows"][1:]:
        state = " (found again)" if row["reused"] else ""
        lines.append(f"{row['way']:<11} {escape_text(row['run'])}{state}")
    return [*lines, "", escape_text(found["sentence"])]


def show_finetune(found: Mapping[str, Any] | None) -> list[object]:
    """Returns what a run's page says of its own fine-tuning; nothing of other runs."""
    if not found:
        return []
    against = found["against"]
    is_right = against["metric"] == "accuracy"
    turned = "right that were wrong" if is_right else "better than before"
    told = (
        f"On the same {against['n']:,} test examples as the head that it started from: "
        f"{_gain(against)}, p = {against['p_value']:.2g}; {against['better']} examples "
        f"{turned}, {against['worse']} the other way."
    )
    facts = {
        "started from": found["from"],
        "way": found["way"],
        "blocks trained": ", ".join(found["blocks"]) or "none: the head alone",
        "cached before": found["cut"] or "nothing, from the input",
        "numbers trained": f"{found['parameters']:,}",
        "steps": f"{found['steps']:,}",
        "took": format_duration(found["seconds"]),
        "device memory of a step": _memory(found["memory"]),
        "best epoch on val": found["best_epoch"],
    }
    return [make_element("p", told), make_facts(facts), make_table(found["epochs"])]


def show_ways(found: Mapping[str, Any] | None) -> list[object]:
    """Returns what a page says of all ways together; takes what a report holds."""
    if not found:
        return []
    rows = found["rows"]
    told = "All ways that were tried at once, on the same test examples:"
    return [
        make_element("p", told),
        make_table([_row(row) for row in rows], right=["p", "took", "memory"]),
        make_element("p", found["sentence"]),
    ]


def _row(row: Mapping[str, Any]) -> dict[str, object]:
    against = row["against"]
    return {
        "way": row["way"],
        f"test {row['metric']}": f"{row['value']:.3f} ({row['low']:.3f} to "
        f"{row['high']:.3f})",
        "against the head": _gain(against) if against else "",
        "p": f"{against['p_value']:.2g}" if against else "",
        "took": "" if row["seconds"] is None else format_duration(row["seconds"]),
        "memory": "" if row["best_epoch"] is None else _memory(row["memory"]),
    }


def _gain(against: Mapping[str, Any]) -> str:
    low, high = against["low"], against["high"]
    points = against["points"]
    return f"{against['gain']:+.1f} {points} (95 % {low:.1f} to {high:.1f})"


def _memory(n_bytes: int | None) -> str:
    return "not known" if n_bytes is None else f"{n_bytes / 2**20:,.0f} MiB"
