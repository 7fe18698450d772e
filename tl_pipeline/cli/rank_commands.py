"""`rank`: which features would serve a task best."""

from typing import Annotated

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console


def rank(
    stores: Annotated[list[str], Parameter(consume_multiple=True, negative=())],
    *,
    dataset: str | None = None,
    features: Annotated[
        list[str] | None, Parameter(consume_multiple=True, negative=())
    ] = None,
    most_rows: int = 2000,
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Rank the features of stores for a task, without training for it.

    By LogME on labeled train examples; test stays unseen. Beside it H-score, k-nearest
    neighbors, clusters, the bits that labels still cost, and LEEP and NCE where a store
    has logits.

    Args:
      stores: The stores' folders; the first one says which examples and labels.
      dataset: Which dataset; needed where the first store has several.
      features: Which features; default: all of each store.
      most_rows: Examples drawn where there are more.
      seed: Of the drawing.
    """
    from tl_pipeline.reporting.inspection import describe_ranking
    from tl_pipeline.stages.rank import rank_stores

    console = Console(as_json=as_json)
    found = rank_stores(
        stores,
        dataset=dataset,
        features=features,
        most_rows=most_rows,
        seed=seed,
        progress=console.progress(),
    )
    console.say(*describe_ranking(found))
    console.result(found)
