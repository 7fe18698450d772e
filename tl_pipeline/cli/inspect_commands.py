"""`store diff`, `stats`, `neighbors`, `cluster` and `plot`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tl_pipeline.cli.console import AsJson, Console

Names = Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())]


def diff(
    a: str,
    b: str | None = None,
    *,
    dataset: str | None = None,
    snapshot_a: str | None = None,
    snapshot_b: str | None = None,
    features: Names = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two stores, or two snapshots of one.

    Specs field by field; examples added, removed, changed, renamed, relabeled; drift
    of the features, beside what is noise.

    Args:
      a: The older store's folder.
      b: The newer one's; default: the same store.
      dataset: Which dataset; needed where a store has several.
      snapshot_a: The older snapshot, by the start of its digest; default: the latest,
        within one store the one before.
      snapshot_b: The newer snapshot; default: the latest.
      features: Whose drift to measure; default: all that both have.
    """
    from tl_pipeline.reporting.inspection import describe_diff
    from tl_pipeline.stages.differences import diff_stores

    console = Console(as_json=as_json)
    found = diff_stores(
        a,
        b,
        dataset=dataset,
        snapshot_a=snapshot_a,
        snapshot_b=snapshot_b,
        features=features,
        progress=console.progress(),
    )
    console.say(*describe_diff(found))
    console.result(found)


def stats(
    store: str,
    *,
    dataset: str | None = None,
    snapshot: str | None = None,
    features: Names = None,
    near: float | None = None,
    rows: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Show what of a store's rows and labels deserves a look before training.

    Constant and dead dimensions, norms, effective rank, duplicates and leakage between
    splits, outliers, labels that are probably wrong.

    Args:
      store: The store's folder.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; default: the latest.
      features: Which features; default: all.
      near: Least cosine of near duplicates; default: 0.98.
      rows: Rows drawn where there are more; default: 20000.
    """
    from tl_pipeline.reporting.inspection import describe_checkup
    from tl_pipeline.stages.checkup import MOST_ROWS, NEAR, check_up

    console = Console(as_json=as_json)
    found = check_up(
        store,
        dataset=dataset,
        snapshot=snapshot,
        features=features,
        near=NEAR if near is None else near,
        most_rows=MOST_ROWS if rows is None else rows,
        progress=console.progress(),
    )
    console.say(*describe_checkup(found))
    console.result(found)


def neighbors(
    store: str,
    id: str,
    *,
    k: Annotated[int, Parameter(name=["--k", "-k"])] = 10,
    feature: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show the examples that the backbone finds most like one.

    Args:
      store: The store's folder.
      id: The example's id.
      k: How many.
      feature: By which feature; default: the only one, or pool.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; default: the latest.
    """
    from tl_pipeline.reporting.inspection import describe_neighbors
    from tl_pipeline.stages.neighborhood import find_neighbors

    console = Console(as_json=as_json)
    found = find_neighbors(
        store, id, k=k, feature=feature, dataset=dataset, snapshot=snapshot
    )
    console.say(*describe_neighbors(found))
    console.result(found)


def cluster(
    store: str,
    *,
    k: int = 10,
    feature: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
    out: Path | None = None,
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Group examples that the backbone finds alike, by k-means; no label is needed.

    Args:
      store: The store's folder.
      k: How many clusters.
      feature: By which feature; default: the only one, or pool.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; default: the latest.
      out: A .csv file for id,cluster.
      seed: Where k-means begins.
    """
    from tl_pipeline.reporting.inspection import describe_clusters
    from tl_pipeline.stages.clusters import cluster_examples

    console = Console(as_json=as_json)
    found = cluster_examples(
        store,
        k=k,
        feature=feature,
        dataset=dataset,
        snapshot=snapshot,
        out=out,
        seed=seed,
    )
    console.say(*describe_clusters(found))
    console.result(found)


def plot(
    store: str,
    *,
    out: Path,
    method: str = "pca",
    color: str = "target",
    run: Path | None = None,
    feature: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
    rows: int | None = None,
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Draw a store's rows as points of a plane.

    Args:
      store: The store's folder.
      out: The picture: .png or .svg.
      method: pca, tsne, or umap, which is an extra.
      color: target, split or prediction.
      run: Whose predictions: a run's folder.
      feature: Which feature; default: the only one, or pool.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; default: the latest.
      rows: Rows drawn where there are more; default: 20000, for tsne 5000.
      seed: Where drawing rows and t-SNE begin.
    """
    from tl_pipeline.reporting.inspection import describe_picture
    from tl_pipeline.stages.picture import draw_store

    console = Console(as_json=as_json)
    found = draw_store(
        store,
        out,
        method=method,
        color=color,
        run=run,
        feature=feature,
        dataset=dataset,
        snapshot=snapshot,
        most_rows=rows,
        seed=seed,
    )
    console.say(*describe_picture(found))
    console.result(found)
