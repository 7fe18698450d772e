"""`backbone ls` and `backbone show`."""

from typing import Any

from tl_pipeline.cli.console import AsJson, Console


def ls(*, as_json: AsJson = False) -> None:
    """List the backbones."""
    from tl_pipeline.backbones.registry import list_backbones, summarize_backbone
    from tl_pipeline.reporting.tables import format_table

    console = Console(as_json=as_json)
    rows: list[dict[str, Any]] = [summarize_backbone(name) for name in list_backbones()]
    table = [
        {
            "name": row["name"],
            "input": "x".join(map(str, row["input_shape"])),
            "files": ", ".join(row["layouts"]),
            "published": row["checkpoints"],
        }
        for row in rows
    ]
    console.say(format_table(table))
    console.result(rows)


def show(name: str, *, as_json: AsJson = False) -> None:
    """Show a backbone: its features with their shapes, its weights, its input.

    Args:
      name: A name from `backbone ls`, or package.module:factory.
    """
    from tl_pipeline.backbones.registry import describe_backbone
    from tl_pipeline.reporting.tables import format_table

    console = Console(as_json=as_json)
    facts: dict[str, Any] = describe_backbone(name)
    console.say(f"{facts['name']}: {facts['parameters']:,} parameters", "")
    table = [
        {"feature": feature, "shape": "x".join(map(str, shape))}
        for feature, shape in facts["features"].items()
    ]
    console.say(format_table(table), "")
    console.say("preprocessing")
    console.say(*(f"  {key}: {value}" for key, value in facts["preprocess"].items()))
    console.say("", "known weights")
    for checkpoint in facts["checkpoints"]:
        console.say(*(f"  {key}: {value}" for key, value in checkpoint.items()))
    console.result(facts)
