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
    from tl_pipeline.reporting.sentences import describe_preprocess
    from tl_pipeline.reporting.tables import format_table

    console = Console(as_json=as_json)
    facts: dict[str, Any] = describe_backbone(name)
    of_top = facts["classifier_parameters"]
    console.say(
        f"{facts['name']}: {facts['parameters']:,} parameters"
        + (f", and {of_top:,} of its published classifier" if of_top else ""),
        f"work of one image of {'x'.join(map(str, facts['input_shape']))}: "
        f"{facts['flops'] / 1e9:.3g} GFLOPs, a multiply-add counted as 2",
        "",
    )
    table = [
        {"feature": feature, "shape": "x".join(map(str, shape))}
        for feature, shape in facts["features"].items()
    ]
    console.say(format_table(table), "")
    console.say(
        "input, where the weights say nothing else:",
        f"  {describe_preprocess(facts['preprocess'])}",
    )
    for checkpoint in facts["checkpoints"]:
        console.say("", f"weights: {checkpoint['name']}")
        others = {
            k: v for k, v in checkpoint.items() if k not in ("name", "preprocess")
        }
        console.say(*(f"  {key}: {value}" for key, value in others.items()))
        console.say(f"  input: {describe_preprocess(checkpoint['preprocess'])}")
    console.result(facts)
