"""`relate`: which tasks of a store help which."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console


def relate(
    store: str,
    *,
    target_column: Annotated[list[str], Parameter(consume_multiple=True, negative=())],
    dataset: str | None = None,
    feature: str | None = None,
    picture: Path | None = None,
    most_rows: int = 5000,
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Say which tasks of a store help which: what answers to one tell of another.

    Train examples alone are looked at: a third fits heads of each task, a third heads
    of each task on the answers to each other, a third scores these.

    Args:
      store: The store's folder.
      target_column: Two or more columns, each a task; `target` is the dataset's own,
        DATASET:COLUMN one of another dataset in the store.
      dataset: Which dataset has the others; needed where the store has several.
      feature: Which feature; default: the only one, or pool.
      picture: A .png or .svg file to draw the matrix to.
      most_rows: Examples drawn where there are more.
      seed: Of the drawing.
    """
    from tl_pipeline.reporting.inspection import describe_relatedness
    from tl_pipeline.stages.relate import relate_tasks

    console = Console(as_json=as_json)
    found = relate_tasks(
        store,
        target_column,
        dataset=dataset,
        feature=feature,
        picture=picture,
        most_rows=most_rows,
        seed=seed,
    )
    console.say(*describe_relatedness(found))
    console.result(found)
