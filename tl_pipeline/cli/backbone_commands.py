"""`backbone ls`, `backbone show` and `backbone check`."""

from typing import Any

from tl_pipeline.cli.console import AsJson, Console
from tl_pipeline.cli.stages_commands import Settings, read_settings
from tl_pipeline.errors import UnsoundWeightsError


def ls(*, as_json: AsJson = False) -> None:
    """List the backbones."""
    from tl_pipeline.backbones.registry import list_backbones, summarize_backbone
    from tl_pipeline.reporting.tables import format_table

    console = Console(as_json=as_json)
    rows: list[dict[str, Any]] = [summarize_backbone(name) for name in list_backbones()]
    table = [
        {
            "name": row["name"],
            "takes": row["takes"],
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
    # A network of texts takes tokens that the weights bring.
    brings = facts["preprocess"].get("kind") == "text"
    of_top = facts["classifier_parameters"]
    windowed = facts["takes"] == "recordings"
    one = "window of a recording," if windowed else f"{facts['takes'][:-1]} of"
    console.say(
        f"{facts['name']}: {facts['parameters']:,} parameters"
        + (f", and {of_top:,} of its published classifier" if of_top else ""),
        f"work of one {one} "
        f"{'x'.join(map(str, facts['input_shape']))}{' tokens' * brings}: "
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
        f"  texts of at most {facts['input_shape'][0]:,} tokens, by the tokenizer that "
        "lies beside the weights"
        if brings
        else f"  {describe_preprocess(facts['preprocess'])}",
    )
    for checkpoint in facts["checkpoints"]:
        console.say("", f"weights: {checkpoint['name']}")
        others = {
            k: v for k, v in checkpoint.items() if k not in ("name", "preprocess")
        }
        console.say(*(f"  {key}: {value}" for key, value in others.items()))
        if not brings:
            console.say(f"  input: {describe_preprocess(checkpoint['preprocess'])}")
    console.result(facts)


def check(
    name: str,
    *,
    weights: str = "pretrained",
    data: str | None = None,
    settings: Settings = None,
    workers: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Test a checkpoint: all of it used, finite, the same in a batch.

    Exit code 1 where it is not fine.

    Args:
      name: A name from `backbone ls`, or package.module:factory.
      weights: A file, pretrained, hf:OWNER/NAME, or random:SEED.
      settings: Settings of the backbone, such as max_length=64.
      data: Labeled images: top-1 and top-5 of ImageNet's classifier where folders have
        its WordNet ids, numbers or names, and what bfloat16 and float16 cost a head.
      workers: Decoding threads; default: one a core.
    """
    from tl_pipeline.reporting.self_test import describe_check
    from tl_pipeline.stages.check_backbone import check_backbone

    console = Console(as_json=as_json)
    report = check_backbone(
        name,
        weights=weights,
        settings=read_settings(settings, of="[backbone] settings"),
        data=data,
        workers=workers,
        progress=console.progress(),
    )
    found = report.to_json()
    console.say(*describe_check(found))
    console.result(found)
    if not report.fine:
        problems = "\n".join(f"  {problem}" for problem in report.problems)
        raise UnsoundWeightsError(
            f"Weights {weights} are not fine for {name}:\n{problems}\n"
            "Download or export them again, or name the backbone they belong to."
        )
