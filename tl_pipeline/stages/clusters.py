"""Groups of examples that the backbone finds alike, without any label."""

import csv
import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from tl_pipeline.digest import Json
from tl_pipeline.errors import ConfigError
from tl_pipeline.files import write_atomically
from tl_pipeline.places import Place
from tl_pipeline.stages.vectors import choose_feature, iterate_vectors, load_vectors
from tl_pipeline.store.store import open_store

MOST_ROWS = 20_000
_TYPICAL = 3  # examples told of a cluster


def cluster_examples(
    store: str | Place,
    *,
    k: int = 10,
    feature: str | None = None,
    dataset: str | None = None,
    snapshot: str | None = None,
    out: str | Path | None = None,
    most_rows: int = MOST_ROWS,
    seed: int = 0,
) -> dict[str, Json]:
    """Groups a snapshot's examples by k-means of their rows; labels are not looked at.

    Rows are scaled to length 1, so that clusters are of directions, as neighbors are
    by cosine. Centers are fitted to rows drawn where there are many; every row is then
    assigned, some shards at a time.

    Args:
      store: The store's folder.
      k: How many clusters; fewer where there are not so many different rows.
      feature: By which feature; by default the only one, or `pool`.
      dataset: Which dataset; needed where the store has several.
      snapshot: Which snapshot, by the start of its digest; by default the latest.
      out: A .csv file to write `id,cluster` to.
      most_rows: Rows that centers are fitted to.
      seed: Of the drawing and of the ten starts of k-means.

    Returns:
      Plain data: `dataset`, `feature`, `examples`, `out`, and `clusters`, the largest
      first: `cluster`, `size`, `spread` (the mean distance from the center, 0 to 2),
      `typical` (the ids nearest to the center), and `target` with `share`, the
      commonest target among its labeled examples, None where there is none.

    Raises:
      ConfigError: `k` is below 2, or `out` is no .csv.
      NotFoundError: The store, snapshot or feature is not there.
      DatasetError: No example has a row.
    """
    # It loads in a second, which a caller of the other stages need not wait for.
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if k < 2:
        raise ConfigError(f"Asked for {k} clusters: there are 2 at least.")
    if out is not None and Path(out).suffix != ".csv":
        raise ConfigError(f"Asked to write clusters to {out}: they go to a .csv file.")
    opened = open_store(store)
    examples = opened.snapshot(dataset, snapshot)
    name = choose_feature(opened, feature)
    drawn = load_vectors(opened, name, examples, most_rows=most_rows, seed=seed).rows
    fitted = KMeans(
        min(k, len(drawn.features)),
        n_init=10,  # pyright: ignore[reportArgumentType]
        random_state=seed,
    )
    with warnings.catch_warnings():  # rows that are all alike make fewer clusters
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(_directions(drawn.features))
    ids: list[str] = []
    numbers, distances = [], []
    for rows in iterate_vectors(opened, name, examples):
        if not len(rows.ids):
            continue
        apart = fitted.transform(_directions(rows.features))
        ids += rows.ids
        numbers.append(apart.argmin(axis=1))
        distances.append(apart.min(axis=1))
    cluster, distance = np.concatenate(numbers), np.concatenate(distances)
    # Numbered by size, so that 0 is the largest.
    sizes = np.bincount(cluster, minlength=len(fitted.cluster_centers_))
    order = np.argsort(-sizes, kind="stable")
    cluster = np.argsort(order)[cluster]
    target_of = dict(zip(examples.ids, examples.targets, strict=True))
    found = [
        _describe(number, np.flatnonzero(cluster == number), ids, distance, target_of)
        for number in range(int((sizes > 0).sum()))
    ]
    if out is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "cluster"])
        writer.writerows(sorted(zip(ids, cluster.tolist(), strict=True)))
        write_atomically(Path(out), text.getvalue().encode())
    return {
        "dataset": examples.dataset,
        "feature": name,
        "examples": len(ids),
        "clusters": found,
        "out": str(out) if out is not None else None,
    }


def _describe(
    number: int,
    members: np.ndarray,
    ids: list[str],
    distance: np.ndarray,
    target_of: dict[str, str | None],
) -> dict[str, Any]:
    nearest = members[np.argsort(distance[members], kind="stable")]
    targets = [target_of[ids[i]] for i in members.tolist()]
    known = sorted(target for target in targets if target is not None)
    # Of equally common ones the first by name.
    commonest, n = Counter(known).most_common(1)[0] if known else (None, 0)
    return {
        "cluster": number,
        "size": len(members),
        "spread": float(distance[members].mean()),
        "typical": [ids[i] for i in nearest[:_TYPICAL].tolist()],
        "target": commonest,
        "share": n / len(known) if known else None,
    }


def _directions(rows: np.ndarray) -> np.ndarray:
    """Returns rows of length 1; a row of zeros stays one."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
