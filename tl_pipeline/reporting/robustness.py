"""What is said of a head on corrupted test examples."""

from collections.abc import Mapping
from typing import Any

from tl_pipeline.reporting.markup import make_element, make_list, make_table
from tl_pipeline.reporting.sentences import count, describe_interval
from tl_pipeline.reporting.tables import escape_text, format_table


def describe_robustness(found: Mapping[str, Any]) -> list[str]:
    """Says how much corruption costs; takes what `measure_robustness` returns."""
    return [
        *_sentences(found),
        "",
        *format_table(_rows(found)).split("\n"),
        *(f"note: {escape_text(note)}" for note in found["notes"]),
    ]


def show_robustness(found: Mapping[str, Any] | None) -> list[object]:
    """Returns what a run's page says of it; nothing where it was not measured."""
    if not found:
        return []
    clean, lost = _sentences(found)
    return [
        make_element("p", f"{clean}; {lost}. Intervals are over examples."),
        make_table(_rows(found)),
        make_list(found["notes"], most=len(found["notes"])),
    ]


def _sentences(found: Mapping[str, Any]) -> tuple[str, str]:
    loss = {key: 100 * value for key, value in found["loss"].items()}
    return (
        f"Test {found['measure']} on {count(found['n'], 'example')} as they are: "
        f"{describe_interval(found['clean'])}",
        f"corrupted, on average: {describe_interval(found['mean'])}; lost "
        f"{loss['value']:.1f} points (95 % {loss['low']:.1f} to {loss['high']:.1f})",
    )


def _rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"corruption": name}
        | {f"severity {key}": _short(figure) for key, figure in severities.items()}
        | {"mean": _short(found["means"][name])}
        for name, severities in found["corruptions"].items()
    ]


def _short(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.2f} to {figure['high']:.2f})"
