"""`robustness`: a run's head on corrupted test examples."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console

_Several = Parameter(consume_multiple=True, negative=())


def robustness(
    run: Path,
    *,
    corruptions: Annotated[list[str] | None, _Several] = None,
    severities: Annotated[list[int] | None, _Several] = None,
    data: str | None = None,
    weights: str | None = None,
    workers: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Score a run's head on its test examples, corrupted in several ways.

    The inputs are corrupted as in ImageNet-C (Hendrycks and Dietterich 2019), and go
    through the run's own backbone.

    Args:
      run: A run's folder, or DATASET.current.json for the run in use.
      corruptions: Of noise, blur, jpeg, brightness and contrast; default: all.
      severities: Of 1 to 5; default: all.
      data: Where the dataset is; default: where it was extracted from.
      weights: The backbone's weights; default: where the run had them.
      workers: Decoding threads; default: one a core.
    """
    from tl_pipeline.data.corruptions import CORRUPTIONS, SEVERITIES
    from tl_pipeline.reporting.robustness import describe_robustness
    from tl_pipeline.stages.robustness import measure_robustness

    console = Console(as_json=as_json)
    found = measure_robustness(
        run,
        corruptions=CORRUPTIONS if corruptions is None else corruptions,
        severities=SEVERITIES if severities is None else severities,
        data=data,
        weights=weights,
        workers=workers,
        progress=console.progress(),
    )
    console.say(*describe_robustness(found))
    console.result(found)
