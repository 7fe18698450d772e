"""What a plan says, as lines of text."""

from collections.abc import Mapping
from typing import Any

from tl_pipeline.reporting.sentences import count, format_bytes, format_duration
from tl_pipeline.reporting.tables import escape_text, format_table


def describe_plan(plan: Mapping[str, Any]) -> list[str]:
    """Says what an extraction would do; takes `PlanReport.to_json()`."""
    table = [
        {
            "rows of": store["name"],
            "feature": name,
            "compute": feature["rows_to_compute"],
            "reuse": feature["rows_reused"],
            "write": format_bytes(feature["bytes"]),
            "shards": store["shards"],
            "a shard": format_bytes(store["shard_bytes"]) if store["shards"] else None,
        }
        for store in plan["stores"]
        for name, feature in store["features"].items()
    ]
    lines = [f"  {line}" for line in format_table(table).split("\n")]
    changes = {kind: n for kind, n in (plan["changes"] or {}).items() if n}
    if changes:
        told = ", ".join(f"{n:,} {kind}" for kind, n in changes.items())
        lines.append(f"  since the last snapshot: {told}")
    if plan["duplicates"]:
        lines.append(f"  same bytes as another example: {plan['duplicates']:,}")
    failures = plan["failures"]
    if any(failures.values()):
        lines.append(
            f"  failures: {failures['remembered']:,} remembered and not tried "
            f"(extract --retry-failed tries them), {failures['retried']:,} to be tried "
            f"again, {failures['unreadable']:,} unreadable now"
        )
    disk, host, device = plan["disk"], plan["host"], plan["device"]
    if disk["free"] is None:
        lines.append(
            f"  bucket: {format_bytes(plan['bytes'])} to write, snapshots included"
        )
    else:
        lines.append(
            f"  disk: {format_bytes(plan['bytes'])} to write, snapshots included, and "
            f"{format_bytes(disk['margin'])} to spare, of {format_bytes(disk['free'])} "
            "free; a quota may leave less"
        )
    lines.append(
        f"  memory: {format_bytes(host['needed'])} for rows and inputs, of "
        f"{format_bytes(host['free'])} that can be had"
    )
    if device and device["needed"]:
        limit = f", of {format_bytes(device['limit'])}" if device["limit"] else ""
        lines.append(
            f"  {escape_text(device['kind'])}: {format_bytes(device['needed'])} for "
            f"weights and a batch{limit}"
        )
    lines += [f"  warning: {escape_text(text)}" for text in plan["warnings"]]
    return [f"Plan for {escape_text(plan['dataset'])}:", *lines, "", _sentence(plan)]


def _sentence(plan: Mapping[str, Any]) -> str:
    verdict = "" if plan["fits"] else " It does not fit, and would not begin."
    views = plan["views_to_compute"]
    if not views and not any(store["rows_to_compute"] for store in plan["stores"]):
        what = f"Nothing to compute: all {count(plan['rows_reused'], 'row')} are there."
        return what + verdict
    rate, took = plan["rate"], "an unknown time"
    if plan["seconds"] is not None:
        source = (
            "as timed just now"
            if rate["source"] == "calibrated"
            else "the store's own record with the same versions and platform"
        )
        took = (
            f"about {format_duration(plan['seconds'])} "
            f"({rate['images_a_second']:,.0f} {plan['takes']}/s, {source})"
        )
    beside = f" and {count(views, 'augmented view')}" if views else ""
    return (
        f"{count(plan['examples'], 'example')}: compute {plan['rows_to_compute']:,}"
        f"{beside}, reuse {plan['rows_reused']:,}, write "
        f"{format_bytes(plan['bytes'])}, in "
        f"{took}.{verdict}"
    )
