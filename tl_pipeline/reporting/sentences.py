"""The sentences that a person repeats: how many, how long, how sure."""

from collections.abc import Mapping
from typing import Any


def format_duration(seconds: float) -> str:
    """Says a duration as a person would.

    Example:
      >>> [format_duration(s) for s in (0.04, 3.21, 75, 2460, 9000)]
      ['0.04 s', '3.2 s', '75 s', '41 min', '2.5 h']
    """
    if seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def count(n: int, noun: str) -> str:
    """Says how many of something, in the right number.

    Example:
      >>> count(1, "row"), count(1200, "row")
      ('1 row', '1,200 rows')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def describe_reuse(extracted: Mapping[str, Any]) -> str:
    """Says what an extraction reused, computed and saved.

    Example:
      >>> describe_reuse({"rows_reused": 99988, "rows_computed": 12,
      ...     "duplicates": 0, "failures": [], "seconds_saved": 2460.0})
      'reused 99,988, computed 12, saved about 41 min'
    """
    parts = [
        f"reused {extracted['rows_reused']:,}",
        f"computed {extracted['rows_computed']:,}",
    ]
    if extracted["duplicates"]:
        parts.append(f"duplicate {extracted['duplicates']:,}")
    if extracted["failures"]:
        parts.append(f"failed {len(extracted['failures']):,}")
    if extracted["seconds_saved"] and extracted["rows_reused"]:
        parts.append(f"saved about {format_duration(extracted['seconds_saved'])}")
    return ", ".join(parts)


def describe_interval(metric: Mapping[str, float]) -> str:
    """Says a figure with its 95 % interval.

    Example:
      >>> describe_interval({"value": 0.9608, "low": 0.928, "high": 0.987})
      '0.961 (95 % 0.928 to 0.987)'
    """
    return f"{metric['value']:.3f} (95 % {metric['low']:.3f} to {metric['high']:.3f})"
