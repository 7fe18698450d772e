"""What the self-test of a checkpoint found, as lines of text."""

from collections.abc import Mapping
from typing import Any

from tl_pipeline.reporting.sentences import count
from tl_pipeline.reporting.tables import escape_text, format_table

_HEADS = {
    "float32": "in float32",
    "float16": "stored as float16",
    "bfloat16": "computed in bfloat16",
}


def describe_check(found: Mapping[str, Any]) -> list[str]:
    """Says what a self-test found; takes `BackboneCheck.to_json()`."""
    lines = [f"{found['backbone']}, weights {escape_text(found['weights'])}"]
    if found["tensors"]:
        lines += _say_tensors(found["tensors"])
    if found["features"]:
        lines += ["", "largest difference of a row, of its largest value:"]
        table = [
            {
                "feature": name,
                "shape": "x".join(map(str, facts["shape"])),
                "largest": _number(facts["largest"], ".4g"),
                "one by one": _number(facts["one_by_one"], ".1e"),
                "bfloat16": _number(facts["bfloat16"], ".1e"),
                "float16": _number(facts["float16"], ".1e"),
            }
            for name, facts in found["features"].items()
        ]
        lines.append(format_table(table))
    if found["data"]:
        lines += ["", *_say_data(found["data"])]
    lines += [f"note: {escape_text(note)}" for note in found["notes"]]
    if found["fine"]:
        lines += ["", "fine: every tensor has its place, every feature is finite"]
    return lines


def _say_tensors(tensors: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{count(tensors['file'], 'tensor')} ({tensors['layout']}): "
        f"{tensors['used']:,} used as {count(tensors['parameters'], 'parameter')}, "
        f"{'with' if tensors['classifier'] else 'without'} a classifier"
    ]
    lines += [
        f"  {n:,} left out: {escape_text(rule)}"
        for rule, n in tensors["left_out"].items()
    ]
    if tensors["elsewhere"]:
        lines.append(f"  {tensors['elsewhere']:,} left out: not of this network")
    if tensors["buffers"]:
        lines.append(f"  {tensors['buffers']:,} left out: counters and tables")
    return lines


def _say_data(data: Mapping[str, Any]) -> list[str]:
    lines = [f"{count(data['examples'], 'image')} of {data['classes']:,} classes"]
    if data["failed"]:
        lines[0] += f"; {data['failed']:,} failed"
    if data["top1"] is not None:
        published = data["published"]
        beside = "not known of these weights"
        if published:
            beside = f"{published['top1']:g} ({published['name']}, on all of val)"
        lines.append(
            f"  top-1 {data['top1']:.2f}, top-5 {data['top5']:.2f}; top-1 in bfloat16 "
            f"{data['top1_bfloat16']:.2f}; published top-1: {beside}"
        )
    head = data["head"]
    if head:
        lines.append(
            f"  linear head on {head['feature']}, {head['train']:,} train, "
            f"{head['test']:,} test, accuracy:"
        )
        lines += [
            f"    {_number(head[key], '.2f'):>6} {words}"
            for key, words in _HEADS.items()
        ]
    return lines


def _number(value: float | None, form: str) -> str:
    return "none" if value is None else format(value, form)
