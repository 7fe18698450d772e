"""What a command says when it is done, as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from tl_pipeline.reporting.sentences import (
    count,
    describe_interval,
    describe_reuse,
    describe_seeds,
    format_duration,
)
from tl_pipeline.reporting.tables import escape_text, format_table

_SHOWN = 5  # of a list that may be long
# What a person asks first; the report and `--json` have all of them.
_MAIN_METRICS = {
    "multiclass": ("accuracy", "balanced_accuracy", "f1_macro", "log_loss"),
    "binary": ("accuracy", "f1", "roc_auc", "log_loss"),
    "multilabel": ("subset_accuracy", "f1_macro", "average_precision", "log_loss"),
    "regression": ("mean_absolute_error", "root_mean_squared_error", "r2"),
}


def describe_extract(extracted: Mapping[str, Any]) -> list[str]:
    """Says what an extraction did; takes `ExtractReport.to_json()`."""
    lines = [
        f"Extracted {', '.join(extracted['features'])} of "
        f"{escape_text(extracted['dataset'])}, "
        f"{count(extracted['examples'], 'example')}: {describe_reuse(extracted)}; "
        f"took {format_duration(extracted['seconds'])}.",
    ]
    lines += _changes(extracted)
    if extracted.get("inputs_cut"):
        lines.append(
            f"  cut {count(extracted['inputs_cut'], 'example')} of "
            f"{extracted['inputs_opened']:,} that were longer than the backbone takes: "
            "what is behind is not seen"
        )
    if extracted.get("words"):
        share = extracted["words_unknown"] / extracted["words"]
        lines.append(
            f"  looked up {count(extracted['words'], 'word')}: {share:.1%} unknown, "
            "which count for nothing"
        )
    if extracted["views_computed"]:
        lines.append(
            f"  augmented views of training examples: computed "
            f"{extracted['views_computed']:,}"
        )
    for baseline in extracted["baselines"]:
        lines.append(
            f"  baseline {baseline['name']}: computed {baseline['rows_computed']:,}"
        )
    parity = extracted["parity"]
    if parity:
        lines.append(
            f"  live check: {count(parity['rows'], 'row')}, largest difference "
            f"{parity['max_difference']:.2g} of {parity['tolerance']:g} allowed"
        )
    if extracted["shards_merged"]:
        lines.append(f"  merged {count(extracted['shards_merged'], 'small shard')}")
    lines += [f"  note: {escape_text(note)}" for note in extracted["notes"]]
    whose = str((extracted["weights_origin"] or {}).get("preprocess", ""))
    if whose.startswith("usual"):
        lines.append(f"  note: images are prepared as is {whose}")
    lines += _failed(extracted)
    for key, what in (
        ("conflicts", "same bytes, other targets"),
        ("leaks", "same bytes in several splits"),
    ):
        lines += _shorten(what, [", ".join(ids) for ids in extracted[key]])
    lines.append(f"  store {extracted['store']}")
    return lines


def describe_import(imported: Mapping[str, Any]) -> list[str]:
    """Says what an import did; takes `ImportReport.to_json()`."""
    keys = {
        "content_digest": "the content digests of the files",
        "data": "the bytes of the examples",
        "row": "the rows themselves, since nothing tells what their examples are",
    }
    lines = [
        f"Imported {', '.join(imported['features'])} of "
        f"{escape_text(imported['dataset'])}, "
        f"{count(imported['examples'], 'example')}: "
        f"reused {imported['rows_reused']:,}, imported {imported['rows_imported']:,}, "
        f"{imported['duplicates']:,} duplicate, {len(imported['failures']):,} failed; "
        f"took {format_duration(imported['seconds'])}.",
        f"  rows are known by {keys[imported['keyed_by']]}",
        *_changes(imported),
    ]
    lines += [f"  note: {escape_text(note)}" for note in imported["notes"]]
    lines += _failed(imported)
    return [*lines, f"  store {imported['store']}"]


def _changes(report: Mapping[str, Any]) -> list[str]:
    changes = {kind: n for kind, n in (report.get("changes") or {}).items() if n}
    told = ", ".join(f"{n:,} {kind}" for kind, n in changes.items())
    return [f"  since the last snapshot: {told}"] if told else []


def _failed(report: Mapping[str, Any]) -> list[str]:
    failures = report["failures"]
    return _shorten("failed", [f"{f['id']}: {f['reason']}" for f in failures])


def describe_train(trained: Mapping[str, Any]) -> list[str]:
    """Says what a training found; takes `TrainReport.to_json()`."""
    counts, chosen = trained["counts"], trained["chosen"]["settings"]
    where = ", ".join(f"{counts[s]:,} {s}" for s in ("train", "val", "test"))
    took = format_duration(trained["seconds"])
    lines = [
        f"Found the same run again in {took}: nothing to train."
        if trained["reused"]
        else f"Trained {count(trained['heads_trained'], 'head')} on {where} in {took}.",
        f"{trained['chosen']['kind']} on {chosen['feature']}{_settings(chosen)}, "
        f"{trained['selection']['sentence']}; looked at test once:",
    ]
    chosen_on = "train, by folds" if trained["selection"]["folds"] else "val"
    table = [
        {
            "metric": name,
            chosen_on: describe_interval(trained["val"][name]),
            "test": describe_interval(trained["test"][name]),
        }
        for name in _MAIN_METRICS[trained["task"]]
        if name in trained["test"]
    ]
    lines += _indent(format_table(table))
    if trained["seeds"]:
        lines.append(describe_seeds(trained["seeds"]))
    if trained["comparison"]:
        measure = trained["comparison"][0]["measure"]
        lines += ["", f"Test {measure} beside the baselines:"]
        lines += _indent(format_table(comparison_table(trained["comparison"])))
    if trained["transfer"]:
        lines += ["", trained["transfer"]["sentence"]]
    lines += ["", f"run {trained['run']}", f"report {trained['report']}"]
    return lines


def _settings(settings: Mapping[str, Any]) -> str:
    views = settings.get("views", 0)
    beside = f" and {count(views, 'augmented view')}" if views else ""
    if "l2" not in settings:
        return beside
    c = f" (scikit-learn's C = {settings['C']:.3g})" if "C" in settings else ""
    return f"{beside}, L2 {settings['l2']:.3g}{c}"


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Returns the rows of the table of a head and its baselines."""
    table = []
    for row in rows:
        line: dict[str, object] = {
            "features of": row["name"],
            "feature": row["feature"],
            "D": row["dimensions"],
            f"all {row['n_train']:,}": row["score"],
        }
        for k, few in row["shots"].items():
            line[f"{k} a class"] = f"{few['mean']:.3f} ± {few['spread']:.3f}"
        table.append(line)
    return table


def describe_store(facts: Mapping[str, Any]) -> list[str]:
    """Says what is in a store; takes `FeatureStore.describe()`."""
    lines = [f"{facts['path']}", ""]
    lines += _describe("", {k: v for k, v in facts.items() if k != "path"})
    return lines


def _describe(indent: str, value: object, key: str = "") -> list[str]:
    head = f"{indent}{key}" if key else indent
    if isinstance(value, Mapping):
        lines = [head] if key else []
        deeper = indent + "  " if key else indent
        for name, item in value.items():
            lines += _describe(deeper, item, str(name))
        return lines
    if isinstance(value, list | tuple):
        if not value:
            return [f"{head}: -"]
        if isinstance(value[0], Mapping):
            columns = {
                name: item
                for name, item in value[0].items()
                if not isinstance(item, Mapping)
            }
            rows = [
                {c: _cell(row.get(c)) for c in columns} for row in value[: 4 * _SHOWN]
            ]
            more = len(value) - len(rows)
            lines = [head, *(f"{indent}  {x}" for x in format_table(rows).split("\n"))]
            return [*lines, f"{indent}  and {more:,} more"] if more else lines
        return [f"{head}: {', '.join(map(str, value))}"]
    return [f"{head}: {_cell(value)}"]


def _cell(value: object) -> object:
    """Shortens digests, and joins lists."""
    if isinstance(value, str) and len(value) == 64:
        return value[:12] + "…"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value


def _shorten(what: str, items: Sequence[str]) -> list[str]:
    lines = [f"  {what}: {escape_text(item)}" for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"  {what}: and {len(items) - _SHOWN:,} more")
    return lines


def _indent(text: str) -> list[str]:
    return [f"  {line}" for line in text.split("\n")]
