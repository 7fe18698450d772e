"""What the commands that look into a store say, as lines of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from tl_pipeline.reporting.sentences import count
from tl_pipeline.reporting.tables import escape_text, format_cell, format_table

_SHOWN = 5  # of a list that may be long
_SHOWN_CLASSES = 20


def describe_diff(found: Mapping[str, Any]) -> list[str]:
    """Says what differs between two snapshots; takes `diff_stores(...)`."""
    lines = []
    for side in ("a", "b"):
        one = found[side]
        lines.append(
            f"{side.upper()}: {one['store']}, {escape_text(one['dataset'])} "
            f"{one['snapshot'][:12]}, {count(one['examples'], 'example')}"
        )
    lines += ["", *_describe_spec(found["spec"]), *_describe_features(found)]
    lines += ["", *_describe_changes(found["examples"])]
    moved = [
        {"class": row["class"], "A": row["a"], "B": row["b"]}
        for row in found["classes"]
        if row["a"] != row["b"]
    ]
    if moved:
        lines += ["", "examples of a class", *_indent(format_table(_cut(moved)))]
    for drift in found["drift"]:
        lines += ["", *_describe_drift(drift)]
    lines += [
        f"{one['feature']}: not compared. {one['reason']}" for one in found["skipped"]
    ]
    return lines


def describe_checkup(found: Mapping[str, Any]) -> list[str]:
    """Says what deserves a look in a store; takes `check_up(...)`."""
    splits = ", ".join(f"{n:,} {name}" for name, n in found["splits"].items())
    lines = [
        f"{found['store']}, {escape_text(found['dataset'])} {found['snapshot'][:12]}",
        f"{count(found['examples'], 'example')} ({splits}), {found['labeled']:,} "
        f"labeled in {count(len(found['classes']), 'class', 'classes')}",
        *_describe_same_bytes(found["same_bytes"]),
    ]
    for feature in found["features"]:
        lines += ["", *_describe_feature(feature)]
    return lines


def describe_neighbors(found: Mapping[str, Any]) -> list[str]:
    """Says what is most like an example; takes `find_neighbors(...)`."""
    lines = [
        f"{escape_text(found['id'])} ({_known(found)}), by {found['feature']} among "
        f"{count(found['rows'], 'row')}:"
    ]
    table = [
        {
            "similarity": one["similarity"],
            "target": one["target"],
            "split": one["split"],
            "id": one["id"],
        }
        for one in found["neighbors"]
    ]
    return lines + (_indent(format_table(table)) if table else ["  no other row"])


def describe_ranking(found: Mapping[str, Any]) -> list[str]:
    """Says which features would serve a task best; takes `rank_stores(...)`."""
    measures = ("logme", "h_score", "knn", "nmi", "bits", "leep", "nce")
    known = [name for name in measures if any(name in r for r in found["ranking"])]
    table = [
        {
            "store": row["store"],
            "feature": row["feature"],
            "D": row["dimensions"],
            **{name: row.get(name) for name in known},
        }
        for row in found["ranking"]
    ]
    return [
        f"For {escape_text(found['dataset'])}, {found['classes']} classes, on "
        f"{count(found['examples'], 'train example')}, the best first by LogME; more "
        "is better, but of bits (a label's cost) less:",
        *_indent(format_table(table)),
        found["trust"]["sentence"],
    ]


def describe_clusters(found: Mapping[str, Any]) -> list[str]:
    """Says which clusters there are; takes `cluster_examples(...)`."""
    table = [
        {
            "cluster": one["cluster"],
            "size": one["size"],
            "spread": one["spread"],
            "mostly": "-"
            if one["target"] is None
            else f"{escape_text(one['target'])} ({100 * one['share']:.0f} %)",
            "typical": ", ".join(escape_text(id) for id in one["typical"]),
        }
        for one in found["clusters"]
    ]
    lines = [
        f"{count(found['examples'], 'example')} of {escape_text(found['dataset'])} by "
        f"{found['feature']}, by k-means of directions:",
        *_indent(format_table(table)),
    ]
    return lines + ([f"written to {found['out']}"] if found["out"] else [])


def describe_relatedness(found: Mapping[str, Any]) -> list[str]:
    """Says which tasks help which; takes `relate_tasks(...)`."""
    names = [escape_text(name) for name in found["tasks"]]
    table = [
        {"answers to": name, **dict(zip(names, row, strict=True))}
        for name, row in zip(names, found["matrix"], strict=True)
    ]
    lines = [
        f"By {found['feature']} of {count(found['examples'], 'train example')} of "
        f"{escape_text(found['dataset'])}: the share of a task's loss without looking "
        "that the answers to another task save; 1 is all:",
        *_indent(format_table(table)),
    ]
    return lines + ([f"drawn to {found['picture']}"] if found["picture"] else [])


def describe_picture(found: Mapping[str, Any]) -> list[str]:
    """Says what a picture shows; takes `draw_store(...)`."""
    part = f"{found['rows']:,} of {found['of']:,}"
    lines = [
        f"{found['path']}: {found['feature']} of {escape_text(found['dataset'])}, "
        f"{part} examples by {found['method']}, colored by {found['color']}"
    ]
    if found["averaged"]:
        lines.append("  rows averaged over their positions")
    if found["method"] != "pca":
        name = {"tsne": "t-SNE", "umap": "UMAP"}[found["method"]]
        lines.append(
            f"  {name} keeps neighborhoods; its distances and sizes mean nothing"
        )
    return lines


def _describe_spec(fields: Sequence[Mapping[str, Any]]) -> list[str]:
    if not fields:
        return ["specs: the same"]
    table = [
        {"field": one["field"], "A": _value(one["a"]), "B": _value(one["b"])}
        for one in fields
    ]
    return [
        f"specs: {count(len(fields), 'field')} differ",
        *_indent(format_table(table)),
    ]


def _describe_features(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, what in (("only_a", "features in A only"), ("only_b", "in B only")):
        if found["features"][key]:
            lines.append(f"{what}: {', '.join(found['features'][key])}")
    for one in found["features"]["other_shape"]:
        lines.append(f"{one['feature']}: {one['a']} in A, {one['b']} in B")
    return lines


def _describe_changes(changes: Mapping[str, Any]) -> list[str]:
    def arrow(one: Mapping[str, Any]) -> str:
        known = [format_cell(one[side]) for side in ("a", "b")]
        named = f"{escape_text(one['id'])}: " if "id" in one else ""
        return f"{named}{known[0]} → {known[1]}"

    lines = [f"examples: {changes['unchanged']:,} unchanged"]
    for key, listed in changes.items():
        if key == "unchanged" or not listed["count"]:
            continue
        lines.append(f"  {key.replace('_', ' ')}: {listed['count']:,}")
        texts = [
            arrow(one) if isinstance(one, Mapping) else escape_text(one)
            for one in listed["first"]
        ]
        lines += _shorten(texts, listed["count"])
    return lines


def _describe_drift(drift: Mapping[str, Any]) -> list[str]:
    rows, of = drift["rows"], drift["of"]
    part = " and ".join(f"{rows[s]:,} of {of[s]:,}" for s in ("a", "b"))
    lines = [
        f"drift of {drift['feature']} ({part} examples"
        + (", rows averaged over their positions)" if drift["averaged"] else ")")
    ]
    table = [
        _drift_row("all", drift["overall"]),
        *(_drift_row(one["class"], one) for one in drift["classes"]),
    ]
    lines += _indent(format_table(table[: _SHOWN_CLASSES + 1]))
    if len(table) > _SHOWN_CLASSES + 1:
        lines.append(f"  and {len(table) - _SHOWN_CLASSES - 1:,} more; --json has all")
    lines += [
        "  shift: of the means, in standard deviations (root mean square over "
        "dimensions); Fréchet: squared distance;",
        "  noise: the same between random halves of A: fewer rows, so rather too much",
    ]
    if drift["overall"]["jumped"]:
        lines.append(
            f"  {count(drift['overall']['jumped'], 'dimension')} constant on both "
            "sides, with other values"
        )
    return lines


def _drift_row(name: str, one: Mapping[str, Any]) -> dict[str, object]:
    beyond = {True: "beyond noise", False: "within noise", None: "too few rows"}
    n = one["n"] or (None, None)
    return {
        "class": name,
        "A": n[0],
        "B": n[1],
        "shift": one["mean_shift"],
        "its noise": one["mean_shift_noise"],
        "Fréchet": one["frechet"],
        "noise": one["frechet_noise"],
        "so": beyond[one["exceeds_noise"]],
    }


def _describe_same_bytes(same: Mapping[str, Any]) -> list[str]:
    if not same["groups"]:
        return ["same bytes under several ids: none"]
    lines = [
        f"same bytes under several ids: {count(same['groups'], 'group')} of "
        f"{same['examples']:,} examples, {same['leaks']:,} across splits (leakage), "
        f"{same['conflicts']:,} with other targets"
    ]
    # What does harm comes first.
    worst = [*same["first_leaks"], *same["first_conflicts"], *same["first"]]
    groups = list({tuple(ids): None for ids in worst})
    texts = [", ".join(escape_text(id) for id in ids) for ids in groups]
    return lines + _shorten(texts, same["groups"])


def _describe_feature(one: Mapping[str, Any]) -> list[str]:
    norms, rank = one["norms"], one["effective_rank"]
    shape = "x".join(map(str, one["shape"]))
    part = (
        f"{one['rows']:,} of {one['of']:,}" if one["rows"] < one["of"] else one["rows"]
    )
    of_rows = f", of {rank['rows']:,} rows" if rank["rows"] < one["rows"] else ""
    lines = [
        f"{one['feature']} [{shape}], {format_cell(part)} rows"
        + (", averaged over their positions" if one["averaged"] else ""),
        f"  constant dimensions: {_some(one['constant'])}",
        f"  dead dimensions (always 0): {_some(one['dead'])}",
        f"  norms: {format_cell(norms['min'])} to {format_cell(norms['max'])}, median "
        f"{format_cell(norms['median'])}; 5 % to 95 %: "
        f"{format_cell(norms['quantiles']['0.05'])} to "
        f"{format_cell(norms['quantiles']['0.95'])}",
        f"  effective rank: {rank['effective']:,.1f} of at most {rank['limit']:,}"
        f"{of_rows}",
        f"  equal rows of other bytes: {count(one['equal_rows']['groups'], 'group')}",
        *_describe_near(one["near"]),
        *_describe_outliers(one["outliers"]),
        *_describe_suspects(one["suspects"]),
    ]
    return lines


def _describe_near(near: Mapping[str, Any] | None) -> list[str]:
    if near is None:
        return []
    lines = [
        f"  near duplicates (cosine of centered rows at least {near['above']:g}): "
        f"{count(near['pairs'], 'pair')} among {count(near['examples'], 'example')}, "
        f"{near['leaks']:,} across splits (leakage)"
    ]
    if not near["pairs"]:
        return lines
    chosen = near["first_leaks"] or near["first"]
    table = [
        {
            "cosine": one["similarity"],
            "splits": " / ".join(one["splits"]),
            "targets": " / ".join(format_cell(target) for target in one["targets"]),
            "ids": "  ".join(one["ids"]),
        }
        for one in chosen[:_SHOWN]
    ]
    return [*lines, *(f"  {line}" for line in _indent(format_table(table)))]


def _describe_outliers(far: Mapping[str, Any] | None) -> list[str]:
    if far is None:
        return []
    lines = [
        f"  outliers (neighbor {far['neighbor']} far out; usually at "
        f"{far['usual_distance']:.3f}): {far['count']:,}"
    ]
    texts = [
        f"{one['distance']:.3f}  {escape_text(one['id'])} ({_known(one)})"
        for one in far["first"]
    ]
    return lines + _shorten(texts, far["count"])


def _describe_suspects(found: Mapping[str, Any]) -> list[str]:
    small = found["small"]
    lines = []
    if found["count"] is None or found["held_out_accuracy"] is None:
        return ["  label-issue suspects: not looked for; it takes two labeled classes"]
    lines.append(
        f"  label-issue suspects: {found['count']:,} of {found['examined']:,} labeled "
        f"(a linear head gets {found['held_out_accuracy']:.1%} right, each example "
        f"held out in one of {found['folds']} folds)"
    )
    if small:
        lines.append(
            f"    too few examples to judge: {', '.join(map(escape_text, small))}"
        )
    table = [
        {
            "confidence": one["confidence"],
            "label": one["target"],
            "suggested": one["suggested"],
            "split": one["split"],
            "id": one["id"],
        }
        for one in found["first"][: 2 * _SHOWN]
    ]
    if table:
        lines += [f"  {line}" for line in _indent(format_table(table))]
    return lines


def _known(one: Mapping[str, Any]) -> str:
    target = "no label" if one["target"] is None else escape_text(one["target"])
    return f"{target}, {one['split']}"


def _some(listed: Mapping[str, Any]) -> str:
    if not listed["count"]:
        return "none"
    some = ", ".join(map(str, listed["first"][: 2 * _SHOWN]))
    more = ", ..." if listed["count"] > 2 * _SHOWN else ""
    return f"{listed['count']:,} ({some}{more})"


def _value(value: object) -> object:
    if isinstance(value, str) and len(value) == 64:
        return value[:12] + "…"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _cut(rows: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    return rows[:_SHOWN_CLASSES]


def _shorten(texts: Sequence[str], n: int) -> list[str]:
    lines = [f"    {text}" for text in texts[:_SHOWN]]
    return [*lines, f"    and {n - _SHOWN:,} more"] if n > _SHOWN else lines


def _indent(text: str) -> list[str]:
    return [f"  {line}" for line in text.split("\n")]
