"""What is said of two runs side by side, of a promotion and of a rollback."""

from collections.abc import Mapping
from typing import Any

from tl_pipeline.reporting.sentences import count
from tl_pipeline.reporting.tables import escape_text, format_table

_SHOWN = 10  # slices; the worst come first


def describe_comparison(found: Mapping[str, Any]) -> list[str]:
    """Says how two runs differ; takes what `compare_runs` returns."""
    lines = [
        f"first   {found['first']['run']}",
        f"second  {found['second']['run']}",
        f"{count(found['n'], 'test example')} in common, of "
        f"{found['first']['test']:,} and {found['second']['test']:,}"
        + (f"; {found['relabeled']:,} relabeled since" if found["relabeled"] else ""),
        "",
        *_table([_row(metric, "metric") for metric in found["metrics"]]),
    ]
    slices = found["slices"]
    if slices:
        lines += ["", "Accuracy by group, the worst for the second first:"]
        lines += _table([_row(one, "slice") for one in slices[:_SHOWN]])
        if len(slices) > _SHOWN:
            lines.append(f"  and {len(slices) - _SHOWN:,} more")
    lines += [f"note: {escape_text(note)}" for note in found["notes"]]
    return [*lines, "", found["sentence"]]


def describe_promotion(promotion: Mapping[str, Any]) -> list[str]:
    """Says what the gate decided; takes `PromotionReport.to_json()`."""
    lines = [escape_text(promotion["sentence"])]
    if promotion["consultations"]:
        lines.append(
            f"  the gate has looked at this test split "
            f"{count(promotion['consultations'], 'time')}, and may promote noise at "
            f"{100 * promotion['alpha']:g} % over all looks together"
        )
    lines += [f"  note: {escape_text(note)}" for note in promotion["notes"]]
    lines.append(f"  in use {promotion['current']}")
    return lines


def describe_rollback(found: Mapping[str, Any]) -> list[str]:
    """Says what a rollback did; takes what `rollback` returns."""
    return [f"Rolled back from {found['left']}.", f"  in use {found['current']}"]


def _row(found: Mapping[str, Any], key: str) -> dict[str, object]:
    ends = found["difference"]
    row: dict[str, object] = {
        key: found[key],
        "n": found["n"],
        "first": found["first"],
        "second": found["second"],
        "difference": f"{ends['value']:+.3f} ({ends['low']:.3f} to {ends['high']:.3f})",
        "better": found["better"],
        "worse": found["worse"],
        "p": found["p_value"],
    }
    if not found.get("enough", True):
        row["difference"] = "too few to say"
    return row


def _table(rows: list[dict[str, object]]) -> list[str]:
    return [f"  {line}" for line in format_table(rows).split("\n")]
