"""The report of a run: one page, complete in itself, for people.

Nothing is fetched when it is opened, no script runs, and whatever comes from data is
escaped: an id or a class name is never markup.
"""

import importlib.resources
import string
from collections.abc import Mapping
from typing import Any, Unpack

from tl_pipeline.digest import json_digest, short_digest
from tl_pipeline.examples import SPLITS
from tl_pipeline.reporting.confusion import (
    class_metrics,
    confused_pairs,
    draw_confusion,
)
from tl_pipeline.reporting.figures import draw_share, draw_validation
from tl_pipeline.reporting.finetune import show_finetune, show_ways
from tl_pipeline.reporting.markup import (
    Html,
    make_element,
    make_facts,
    make_list,
    make_section,
    make_table,
    make_tiles,
    to_html,
)
from tl_pipeline.reporting.report import ReportData
from tl_pipeline.reporting.robustness import show_robustness
from tl_pipeline.reporting.scorecard import show_calibration, show_slices
from tl_pipeline.reporting.sentences import count, describe_seeds, format_duration
from tl_pipeline.reporting.tables import format_cell
from tl_pipeline.spec import is_declared

_MOST_CLASSES = 30  # a larger confusion matrix is unreadable; its worst cells are not
_MOST_LISTED = 20
_BADGES = {"positive": "positive", "none": "none", "negative": "negative"}


def make_report(**data: Unpack[ReportData]) -> str:
    """Writes the page.

    Args:
      **data: The fields of `ReportData`.

    Returns:
      An HTML document without references to anything outside it.
    """
    asked, metrics = data["asked"], data["metrics"]
    provenance, spec = data["provenance"], data["spec"]
    package = importlib.resources.files("tl_pipeline.reporting")
    template = package.joinpath("report.html").read_text(encoding="utf-8")
    transfer, since = metrics["transfer"], data.get("since", {})
    headline = "accuracy" if "accuracy" in metrics["test"] else [*metrics["test"]][-1]
    accuracy = metrics["test"][headline]
    sections = [
        make_section("What was asked", _asked(data)),
        make_section("Metrics", *_metrics(metrics)),
        make_section("Did transfer help?", *_comparison(metrics)),
        make_section(
            "Fine-tuning",
            *show_ways(since.get("finetune")),
            *show_finetune(metrics.get("finetune")),
        ),
        make_section("Robustness", *show_robustness(since.get("robustness"))),
        make_section("Heads", *_heads(metrics)),
        make_section("Few examples a class", *_learning_curve(metrics)),
        make_section("Classes on test", *_classes(metrics)),
        make_section("Slices of test", *show_slices(metrics["slices"])),
        make_section("Calibration", *show_calibration(metrics["calibration"])),
        make_section("Surest mistakes on test", *_mistakes(data)),
        make_section("Data", *_data(provenance, metrics)),
        make_section("The odd ones out", *_odd_ones(provenance)),
        make_section("Provenance", *_provenance(asked, provenance, spec)),
    ]
    verdict = (
        transfer["sentence"]
        if transfer
        else "Transfer: not judged, no baseline was asked for"
    )
    return string.Template(template).substitute(
        title=to_html(f"{provenance['dataset']} with {spec['backbone']}"),
        run=to_html(short_digest(json_digest(asked))),
        version=to_html(asked["version"]),
        accuracy=f"{100 * accuracy['value']:.1f}",
        interval=f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}",
        verdict=to_html(f"{verdict.rstrip('.')}."),
        warning=_warning(provenance),
        tone=_BADGES.get(transfer["verdict"], "none") if transfer else "none",
        sections="\n".join(section for section in sections if section),
    )


def _warning(provenance: Mapping[str, Any]) -> Html:
    if not str(provenance["weights"]).startswith("random:"):
        return Html()
    return make_element(
        "p",
        "The backbone's weights are random: nothing learned before was transferred.",
        class_="warning",
    )


def _asked(data: ReportData) -> Html:
    asked, heads = data["asked"], data["asked"]["heads"]
    strengths = [float(l2) for l2 in heads.get("l2", ())]
    baselines = [str(baseline["name"]) for baseline in asked.get("baselines", ())]
    facts: dict[str, object] = {
        "dataset": data["provenance"]["dataset"],
        "backbone": data["spec"]["backbone"],
        "weights": data["provenance"]["weights"],
        "features": ", ".join(asked["features"]),
        "heads": ", ".join(heads["kinds"]),
    }
    if strengths:
        facts["L2 strengths"] = (
            f"{len(strengths)}, from {min(strengths):g} to {max(strengths):g}"
            if len(strengths) > 1
            else f"{strengths[0]:g}"
        )
    facts["baselines"] = ", ".join(baselines) or "none"
    if asked.get("shots"):
        shots = " and ".join(map(str, asked["shots"]))
        facts["few-shot"] = (
            f"{shots} examples a class, {count(heads['n_seeds'], 'draw')} each"
        )
    return make_facts(facts)


def _metrics(metrics: Mapping[str, Any]) -> list[object]:
    chosen, counts = metrics["chosen"], metrics["counts"]
    settings = ", ".join(
        f"{_name(key)} {_short(value)}"
        for key, value in sorted(chosen["settings"].items())
        if key != "feature"
    )
    selection = metrics["selection"]
    intro = (
        f"{chosen['kind'].capitalize()} on {chosen['settings']['feature']} "
        f"({settings}), {selection['sentence']}. Test was looked at once, for this "
        "head. Intervals are 95 % bootstraps over examples."
    )
    where = "train, by folds" if selection["folds"] else "val"
    rows = [
        {
            "metric": _name(name),
            f"{where}, {selection['examples']:,}": metrics["val"][name]["value"],
            f"{where} 95 %": _interval(metrics["val"][name]),
            f"test, {counts['test']:,}": metrics["test"][name]["value"],
            "test 95 %": _interval(metrics["test"][name]),
        }
        for name in metrics["test"]
    ]
    shown: list[object] = [make_element("p", intro), make_table(rows)]
    if metrics["seeds"]:
        shown.append(make_element("p", f"{describe_seeds(metrics['seeds'])}."))
    return shown


def _comparison(metrics: Mapping[str, Any]) -> list[object]:
    if not metrics["comparison"]:
        return []
    intro = (
        f"Test {metrics['comparison'][0]['measure']} of linear heads on these and on "
        "other features, chosen alike, with all training "
        "examples and with few. Few: mean ± standard deviation over draws."
    )
    rows = []
    for row in metrics["comparison"]:
        line: dict[str, object] = {
            "features of": row["name"],
            "feature": row["feature"],
            "D": row["dimensions"],
            f"all {row['n_train']:,}": draw_share(row["score"]),
        }
        for k, few in row["shots"].items():
            line[f"{k} a class"] = draw_share(few["mean"], few["spread"])
        rows.append(line)
    gains = [
        {
            "gain over": gain["against"],
            "points": f"{gain['points']:+.1f}",
            "95 %": f"{gain['low']:+.1f} to {gain['high']:+.1f}",
            "transfer": gain["verdict"],
        }
        for gain in metrics["transfer"]["gains"]
    ]
    marked = (0,)  # the backbone stands first
    return [
        make_element("p", intro),
        make_table(rows, marked=marked),
        make_table(gains, right=("points", "95 %")),
    ]


def _heads(metrics: Mapping[str, Any]) -> list[object]:
    heads = metrics["candidates"]
    known = ("columns", "views", "l2", "C")
    settings = [key for key in known if any(key in head for head in heads)]
    scores = [key for key in metrics["val"] if any(key in head for head in heads)]
    rows = [
        {
            "head": head["kind"],
            "feature": head["feature"],
            **{_name(key): _short(head.get(key)) for key in settings},
            **{_name(key): head.get(key) for key in scores},
            "converged": head["converged"],
            "": "chosen" if head["chosen"] else "",
        }
        for head in heads
    ]
    marked = [i for i, head in enumerate(heads) if head["chosen"]]
    table = make_table(rows, right=("columns", "views", "L2", "C"), marked=marked)
    n = count(len(heads), "head")
    intro = make_element(
        "p",
        f"{n} trained on train, measured where heads are chosen. C is scikit-learn's "
        "name of the same strength.",
    )
    listed = make_element("details", make_element("summary", f"All {n}"), table)
    return [intro, draw_validation(heads), listed]


def _learning_curve(metrics: Mapping[str, Any]) -> list[object]:
    rows = [
        {
            "examples a class": row["k"],
            "accuracy": draw_share(row["mean"], row["spread"]),
        }
        for row in metrics["learning_curve"]
    ]
    told = "Test accuracy of linear heads: mean ± standard deviation over draws."
    return [make_element("p", told), make_table(rows)] if rows else []


def _classes(metrics: Mapping[str, Any]) -> list[object]:
    if not metrics["confusion"]:
        return []
    counts, classes = metrics["confusion"], metrics["classes"]
    rows = class_metrics(counts, classes)
    if len(classes) <= _MOST_CLASSES:
        told = "A row is a target, a column a prediction; shades are shares of a row."
        return [
            make_element("p", told),
            draw_confusion(counts, classes),
            make_table(rows),
        ]
    seen = [row for row in rows if row["examples"]]
    worst = sorted(seen, key=lambda row: (row["F1"], row["class"]))[:_MOST_LISTED]
    pairs = confused_pairs(counts, classes, most=_MOST_LISTED)
    return [
        make_element("p", "The pairs most often taken for each other:"),
        make_table(pairs),
        make_element("p", f"The {len(worst)} hardest of {len(classes):,} classes:"),
        make_table(worst),
    ]


def _mistakes(data: ReportData) -> list[object]:
    if not data["metrics"]["confusion"]:
        return []
    mistakes, n = data["mistakes"], data["metrics"]["counts"]["test"]
    told = f"{len(mistakes):,} of {n:,} test examples are predicted wrongly"
    if len(mistakes) > _MOST_LISTED:
        told += f"; the {_MOST_LISTED} surest:"
    else:
        told += ":" if mistakes else "."
    return [make_element("p", told), make_table(mistakes[:_MOST_LISTED])]


def _data(provenance: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[object]:
    tiles: dict[str, object] = {}
    facts: dict[str, object] = {}
    extraction = provenance["extraction"]
    if extraction:
        tiles = {
            "examples": extraction["examples"],
            "reused": extraction["rows_reused"],
            "computed": extraction["rows_computed"],
            "duplicate": extraction["duplicates"],
            "failed": len(extraction["failures"]),
            "in conflict": len(extraction["conflicts"]),
            "leaking": len(extraction["leaks"]),
        }
        facts["extraction took"] = format_duration(extraction["seconds"])
        if extraction["seconds_saved"]:
            saved = format_duration(extraction["seconds_saved"])
            facts["extraction saved"] = f"about {saved}"
        parity = extraction["parity"]
        if parity:
            facts["live check"] = (
                f"{count(parity['rows'], 'row')} computed anew, largest difference "
                f"{parity['max_difference']:.2g} of {parity['tolerance']:g} allowed"
            )
    facts["labeled examples"] = ", ".join(
        f"{metrics['counts'][split]:,} {split}" for split in SPLITS
    )
    return [make_tiles(tiles) if tiles else "", make_facts(facts)]


def _odd_ones(provenance: Mapping[str, Any]) -> list[object]:
    extraction = provenance["extraction"] or {}
    failures = extraction.get("failures", ())
    failed = [
        {"failed": failure["id"], "why": failure["reason"]}
        for failure in failures[:_MOST_LISTED]
    ]
    more = len(failures) - len(failed)
    shared = [
        f"{what}: {', '.join(ids)}"
        for key, what in (
            ("conflicts", "Same bytes, other targets"),
            ("leaks", "Same bytes in several splits"),
        )
        for ids in extraction.get(key, ())
    ]
    return [
        make_list(extraction.get("notes", ()), most=_MOST_LISTED),
        make_table(failed),
        make_element("p", f"and {more:,} more failures") if more > 0 else "",
        make_list(shared, most=_MOST_LISTED),
    ]


def _provenance(
    asked: Mapping[str, Any], provenance: Mapping[str, Any], spec: Mapping[str, Any]
) -> list[object]:
    origin = provenance["weights_origin"] or {}
    declared = is_declared(spec)
    facts = {
        "target dataset": provenance["dataset"],
        "snapshot": _code(asked["snapshot"]),
        "feature store": provenance["store"],
        "feature spec": _code(asked["spec"]),
        "weights": provenance["weights"],
        "made elsewhere by": spec["backbone"] if declared else "",
        "weights digest": "not known" if declared else _code(spec["weights"]),
        **{
            f"weights: {_name(key)}": "not recorded" if value is None else value
            for key, value in sorted(origin.items())
        },
        "architecture": _inline(spec["settings"]) or "no settings",
        "preprocessing": _inline(spec["preprocess"]),
        "compute": f"{spec['compute_dtype']}, {spec['matmul_precision']} precision",
        "stored as": spec["store_dtype"],
        "rows imported by" if declared else "rows computed by": _inline(
            provenance["versions"]
        ),
        "run made by": f"tl_pipeline {asked['version']}",
    }
    return [make_facts({name: fact for name, fact in facts.items() if fact != ""})]


def _interval(metric: Mapping[str, float]) -> Html:
    return make_element(
        "span", f"{metric['low']:.3f} to {metric['high']:.3f}", class_="soft"
    )


def _code(digest: str) -> Html:
    return make_element("code", digest)


def _inline(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{_name(key)} {_short(value)}"
        for key, value in values.items()
        if value is not None
    )


def _name(key: str) -> str:
    """Writes the key of a setting or metric as a person would."""
    words = {"l2": "L2", "f1": "F1", "sha256": "SHA-256"}
    return " ".join(words.get(word, word) for word in key.split("_"))


def _short(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_short(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:.3g}"
    return format_cell(value)
