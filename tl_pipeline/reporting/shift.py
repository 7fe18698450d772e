"""What is said of a head on another dataset than its own."""

from collections.abc import Mapping
from typing import Any

from tl_pipeline.reporting.sentences import count, describe_interval
from tl_pipeline.reporting.tables import escape_text, format_table

_SHOWN = 20  # classes
_METHODS = {
    "plain": "the head as it is",
    "em": "class shares by EM",
    "bbse": "class shares by BBSE",
    "aligned": "fitted again on aligned rows (CORAL)",
}


def describe_shift(found: Mapping[str, Any]) -> list[str]:
    """Says how two datasets differ; takes what `measure_shift` returns."""
    lines = [escape_text(found["sentence"]), "", "Class shares:"]
    shares = [{"class": name, **row} for name, row in found["priors"].items()]
    lines += _indent(shares[:_SHOWN])
    if len(shares) > _SHOWN:
        lines.append(f"  and {len(shares) - _SHOWN:,} more")
    scores = found["scores"]
    if scores:
        n = scores["plain"]["n"]
        lines += ["", f"Accuracy on {count(n, 'labeled example')} of the target:"]
        lines += _indent(
            [
                {
                    "method": _METHODS[name],
                    "accuracy": describe_interval(one["accuracy"]),
                    "gain": describe_interval(one["gain"]) if one["gain"] else "",
                }
                for name, one in scores.items()
            ]
        )
    return lines + [f"note: {escape_text(note)}" for note in found["notes"]]


def _indent(rows: list[dict[str, object]]) -> list[str]:
    return [f"  {line}" for line in format_table(rows).split("\n")]
