"""`shift`: a run's head on another dataset of its store."""

from pathlib import Path

from tl_pipeline.cli.console import AsJson, Console


def shift(run: Path, *, dataset: str, as_json: AsJson = False) -> None:
    """Say how another dataset differs from a run's, and what would help its head.

    A classifier two-sample test; the dataset's class shares, estimated without its
    labels; and, where it has labels, the accuracy of the head as it is, corrected for
    the class shares, and fitted again on rows aligned by CORAL.

    Args:
      run: A run's folder, or DATASET.current.json for the run in use.
      dataset: A dataset in the run's store, with labels or without.
    """
    from tl_pipeline.reporting.shift import describe_shift
    from tl_pipeline.stages.shift import measure_shift

    console = Console(as_json=as_json)
    found = measure_shift(run, dataset)
    console.say(*describe_shift(found))
    console.result(found)
