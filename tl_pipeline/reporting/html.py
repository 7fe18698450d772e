"""The report of a run: one page, complete in itself, for people.

Nothing is fetched when it is opened, and whatever comes from data is escaped.
"""

import html
import importlib.resources
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tl_pipeline.reporting.sentences import (
    describe_interval,
    describe_reuse,
    format_duration,
)
from tl_pipeline.reporting.summary import comparison_table
from tl_pipeline.reporting.tables import format_cell

_MOST_CLASSES = 30  # a larger confusion matrix is unreadable; its worst cells are not
_MOST_LISTED = 20


def make_report(
    *,
    asked: Mapping[str, Any],
    provenance: Mapping[str, Any],
    spec: Mapping[str, Any],
    metrics: Mapping[str, Any],
    mistakes: Sequence[Mapping[str, Any]],
) -> str:
    """Writes the page.

    Args:
      asked: What the run was asked for: snapshot, features, heads, baselines.
      provenance: Dataset, store, weights and their origin, versions, and what the
        extraction reported (`extraction`, or None).
      spec: The feature spec.
      metrics: Every figure of the run.
      mistakes: Wrongly predicted test examples, the most confident first: `id`,
        `target`, `predicted`, `probability`.

    Returns:
      An HTML document without references to anything outside it.
    """
    package = importlib.resources.files("tl_pipeline.reporting")
    template = package.joinpath("report.html").read_text()
    dataset = provenance["dataset"]
    transfer = metrics["transfer"]
    accuracy = metrics["test"]["accuracy"]
    verdict = transfer["sentence"] if transfer else "No baseline was asked for."
    sections = [
        _section("Metrics", _metrics(metrics)),
        _section("Beside the baselines", _comparison(metrics)),
        _section("Heads", _heads(metrics)),
        _section("Confusion on test", _confusion(metrics)),
        _section("Surest mistakes on test", _table(mistakes[:_MOST_LISTED])),
        _section("Data", _data(provenance, metrics)),
        _section("Failures", _failures(provenance)),
        _section("Provenance", _provenance(asked, provenance, spec)),
    ]
    return string.Template(template).substitute(
        title=_text(f"{dataset} with {spec['backbone']}"),
        accuracy=f"{100 * accuracy['value']:.1f}",
        interval=f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}",
        verdict=_text(verdict),
        tone=transfer["verdict"] if transfer else "none",
        sections="\n".join(section for section in sections if section),
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>\n{body}</section>" if body else ""


def _metrics(metrics: Mapping[str, Any]) -> str:
    chosen = metrics["chosen"]
    settings = chosen["settings"]
    intro = (
        f"<p>Chosen on val by log loss: {_text(chosen['kind'])} on "
        f"{_text(settings['feature'])}, L2 {settings['l2']:.3g} (scikit-learn's C = "
        f"{settings['C']:.3g}). Test was looked at once, by this head; intervals are "
        "95 % bootstraps over examples.</p>"
    )
    return intro + _table(
        [
            {
                "metric": name.replace("_", " "),
                "val": describe_interval(metrics["val"][name]),
                "test": describe_interval(metrics["test"][name]),
            }
            for name in metrics["test"]
        ]
    )


def _comparison(metrics: Mapping[str, Any]) -> str:
    if not metrics["comparison"]:
        return ""
    gains = [
        {
            "over": gain["against"],
            "points": f"{gain['points']:+.1f}",
            "95 %": f"{gain['low']:.1f} to {gain['high']:.1f}",
        }
        for gain in metrics["transfer"]["gains"]
    ]
    return (
        "<p>Test accuracy of the same head on other features, at all training "
        "examples and at few; mean ± standard deviation over drawn subsets.</p>"
        + _table(comparison_table(metrics["comparison"]))
        + _table(gains)
    )


def _heads(metrics: Mapping[str, Any]) -> str:
    rows = [
        {
            "": "chosen" if row["chosen"] else "",
            "head": row["kind"],
            "feature": row["feature"],
            "L2": f"{row['l2']:.3g}",
            "C": f"{row['C']:.3g}",
            "val accuracy": row["accuracy"],
            "val log loss": row["log_loss"],
            "converged": row["converged"],
        }
        for row in metrics["candidates"]
    ]
    return _table(rows)


def _confusion(metrics: Mapping[str, Any]) -> str:
    counts, classes = np.array(metrics["confusion"]), metrics["classes"]
    if len(classes) > _MOST_CLASSES:
        wrong = counts.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_LISTED]
        rows = [
            {
                "target": classes[i],
                "predicted": classes[j],
                "examples": int(wrong[i, j]),
            }
            for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
            if wrong[i, j]
        ]
        return "<p>The pairs most often taken for each other.</p>" + _table(rows)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th scope=col>{_text(name)}</th>" for name in classes)
    lines = []
    for i, name in enumerate(classes):
        cells = "".join(
            f'<td class="{"hit" if i == j else "miss"}" '
            f'style="--share:{shares[i, j]:.3f}">{counts[i, j]}</td>'
            for j in range(len(classes))
        )
        lines.append(f"<tr><th scope=row>{_text(name)}</th>{cells}</tr>")
    return (
        "<p>A row is a target, a column a prediction.</p><div class=wide>"
        f"<table class=confusion><tr><th></th>{head}</tr>{''.join(lines)}</table></div>"
    )


def _data(provenance: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    facts: dict[str, object] = {
        f"labeled {split}": n for split, n in metrics["counts"].items()
    }
    extraction = provenance["extraction"]
    notes: list[str] = []
    if extraction:
        facts["examples"] = extraction["examples"]
        facts["extraction"] = describe_reuse(extraction)
        facts["took"] = format_duration(extraction["seconds"])
        if extraction["parity"]:
            facts["live check"] = (
                f"{extraction['parity']['rows']} rows, largest difference "
                f"{extraction['parity']['max_difference']:.2g}"
            )
        notes = list(extraction["notes"])
        for key, what in (
            ("conflicts", "The same bytes with other targets"),
            ("leaks", "The same bytes in several splits"),
        ):
            for ids in extraction[key][:_MOST_LISTED]:
                notes.append(f"{what}: {', '.join(ids)}.")
    listed = "".join(f"<li>{_text(note)}</li>" for note in notes)
    return _facts(facts.items()) + (f"<ul>{listed}</ul>" if listed else "")


def _failures(provenance: Mapping[str, Any]) -> str:
    failures = (provenance["extraction"] or {}).get("failures", ())
    rows = [{"id": f["id"], "why": f["reason"]} for f in failures[:_MOST_LISTED]]
    more = len(failures) - len(rows)
    return _table(rows) + (f"<p>and {more:,} more</p>" if more > 0 else "")


def _provenance(
    asked: Mapping[str, Any], provenance: Mapping[str, Any], spec: Mapping[str, Any]
) -> str:
    origin = provenance["weights_origin"] or {}
    facts = {
        "target dataset": provenance["dataset"],
        "snapshot": asked["snapshot"],
        "store": provenance["store"],
        "feature spec": asked["spec"],
        "backbone": spec["backbone"],
        "weights": provenance["weights"],
        "weights digest": spec["weights"],
        **{f"weights: {key.replace('_', ' ')}": origin[key] for key in origin},
        "preprocessing": _inline(spec["preprocess"]),
        "compute": f"{spec['compute_dtype']}, {spec['matmul_precision']} precision",
        "stored as": spec["store_dtype"],
        "features": ", ".join(asked["features"]),
        "heads": _inline(asked["heads"]),
        "computed by": _inline(provenance["versions"]),
        "tl_pipeline": asked["version"],
    }
    return _facts(facts.items())


def _facts(facts: Iterable[tuple[str, object]]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{_text(key)}</th><td>{_text(format_cell(value))}</td></tr>"
        for key, value in facts
    )
    return f"<div class=wide><table class=facts>{rows}</table></div>"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    columns = list(rows[0])
    head = "".join(f"<th scope=col>{_text(column)}</th>" for column in columns)
    body = "".join(
        f"<tr{' class=chosen' if row.get('') == 'chosen' else ''}>"
        + "".join(_table_cell(row[column]) for column in columns)
        + "</tr>"
        for row in rows
    )
    return f"<div class=wide><table><tr>{head}</tr>{body}</table></div>"


def _table_cell(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    kind = " class=number" if number else ""
    return f"<td{kind}>{_text(format_cell(value))}</td>"


def _inline(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_short(value)}" for key, value in values.items())


def _short(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(format_cell(item) for item in value) + "]"
    return format_cell(value)


def _text(value: object) -> str:
    return html.escape(str(value))
