"""`quickstart`, `init` and `run`."""

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console, Wait
from tl_pipeline.cli.engines import Engine, run_engine
from tl_pipeline.config import load_config, make_config, write_template
from tl_pipeline.errors import RequestError

QUICKSTART = {
    "data": {"source": "builtin:digits-shifted"},
    "backbone": {"name": "digits_cnn", "weights": "pretrained", "features": ["pool"]},
}


def quickstart(
    folder: Path = Path("quickstart"),
    *,
    engine: Engine = "prefect",
    as_json: AsJson = False,
) -> None:
    """Watch a transfer happen: offline, on real digits, in under a minute.

    A small network that knows the handwritten digits 0 to 4 meets the digits 5 to 9.
    Its features are cached once, heads are trained on them, and the result is compared
    with raw pixels and with the same network untrained.

    Args:
      folder: Where its store, run and report go; made where it is missing.
      engine: Run it as a Prefect flow, or without Prefect.
    """
    from tl_pipeline.reporting.summary import describe_extract, describe_train

    console = Console(as_json=as_json)
    config = make_config(
        QUICKSTART
        | {
            "store": {"root": str(folder / "stores")},
            "run": {"root": str(folder / "runs")},
        },
        where="of the quickstart",
    )
    console.say(
        "digits_cnn was trained on the handwritten digits 0 to 4. The task is to tell",
        "5 to 9, each at a random place. It is frozen; its features are cached once.",
        "",
    )
    begin = time.perf_counter()
    summary = run_engine(engine, config, console.progress())
    first = time.perf_counter() - begin
    console.say(*describe_extract(summary["extract"]), "")
    console.say(*describe_train(summary["train"]), "")
    begin = time.perf_counter()
    again = run_engine(engine, config, console.progress())
    second = time.perf_counter() - begin
    extracted = again["extract"]
    console.say(
        f"Once more, with nothing changed: computed {extracted['rows_computed']} rows, "
        f"opened {extracted['inputs_opened']} and hashed {extracted['inputs_hashed']} "
        f"inputs, found the same run; {second:.1f} s after {first:.1f} s.",
        "",
        f"store   {summary['extract']['store']}",
        f"run     {summary['train']['run']}",
        f"report  {summary['train']['report']}",
        "",
        f"Next: tl-pipeline store show {summary['extract']['store']}",
        "      tl-pipeline init --data YOUR/PHOTOS",
    )
    console.result(
        {"first": summary, "again": again, "seconds": first, "seconds_again": second}
    )


def init(
    path: Path = Path("pipeline.toml"),
    *,
    data: str = "photos/",
    backbone: str = "mobilenet_v2",
    weights: str = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Write a commented pipeline.toml with every key.

    Args:
      path: The file to write.
      data: The dataset: a folder, a table, arrays, or a built-in.
      backbone: The backbone's name.
      weights: A file, pretrained, or random:SEED.
      force: Replace a file that exists.
    """
    if path.exists() and not force:
        raise RequestError(
            f"Asked to write {path}: it exists. Name another file, or pass --force."
        )
    path.write_text(write_template(source=data, backbone=backbone, weights=weights))
    Console(as_json=False).say(f"Wrote {path}. Edit it, then: tl-pipeline run {path}")


def run(
    config: Path = Path("pipeline.toml"),
    *,
    engine: Engine = "prefect",
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline: extract what is missing, train, promote or hold.

    Args:
      config: The pipeline.toml; `tl-pipeline init` writes one.
      engine: prefect runs the flow on the configured server, or else on a temporary
        one; local runs the same stages without Prefect.
      wait: Wait for another process that writes the stores, or fail.
    """
    from tl_pipeline.reporting.comparison import describe_promotion
    from tl_pipeline.reporting.finetune import describe_finetune
    from tl_pipeline.reporting.summary import describe_extract, describe_train

    console = Console(as_json=as_json)
    options = load_config(config)
    summary: dict[str, Any] = run_engine(engine, options, console.progress(), wait=wait)
    console.say(*describe_extract(summary["extract"]), "")
    if summary["drift"]:
        console.say(f"{summary['drift']['sentence']}.", "")
    console.say(*describe_train(summary["train"]))
    if summary["finetune"]:
        console.say("", *describe_finetune(summary["finetune"]))
    if summary["promotion"]:
        console.say("", *describe_promotion(summary["promotion"]))
    console.result(summary)
