"""`compare` and `rollback`: two runs side by side, and the one before into use."""

from pathlib import Path

from tl_pipeline.cli.console import AsJson, Console


def compare(run_a: Path, run_b: Path, *, as_json: AsJson = False) -> None:
    """Compare two runs on the test examples that both scored.

    Differences are RUN_B minus RUN_A, with paired bootstrap intervals and McNemar's
    exact test, per group too where the store of RUN_B is where it was.

    Args:
      run_a: A run's folder, or DATASET.current.json for the run in use.
      run_b: Likewise: the run that is judged.
    """
    from tl_pipeline.reporting.comparison import describe_comparison
    from tl_pipeline.stages.compare_runs import compare_runs

    console = Console(as_json=as_json)
    found = compare_runs(run_a, run_b)
    console.say(*describe_comparison(found))
    console.result(found)


def rollback(pipeline: Path = Path("runs"), *, as_json: AsJson = False) -> None:
    """Put the run before the one in use into use again.

    Args:
      pipeline: RUN_ROOT/DATASET, or RUN_ROOT where it holds the runs of one dataset.
    """
    from tl_pipeline.reporting.comparison import describe_rollback
    from tl_pipeline.stages.promote import rollback as run_rollback

    console = Console(as_json=as_json)
    found = run_rollback(pipeline)
    console.say(*describe_rollback(found))
    console.result(found)
